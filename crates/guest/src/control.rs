//! The guest's end of the control port.

use std::fs::File;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use sallyport_guest::{HEADER, LONGEST, ToGuest, ToHost, length};

use crate::port;

/// The port: one reader, any number of writers.
pub(crate) struct Control {
    port: Arc<File>,
    teller: Teller,
}

/// Says things to the gateway, one record at a time.
#[derive(Clone)]
pub(crate) struct Teller(Arc<Mutex<Arc<File>>>);

impl Control {
    pub(crate) fn new(port: File) -> Self {
        let port = Arc::new(port);
        Self { teller: Teller(Arc::new(Mutex::new(port.clone()))), port }
    }

    /// The same port, for the one who reads on.
    pub(crate) fn share(&self) -> Self {
        Self { port: self.port.clone(), teller: self.teller.clone() }
    }

    pub(crate) fn teller(&self) -> Teller {
        self.teller.clone()
    }

    pub(crate) fn tell(&self, record: &ToHost) {
        self.teller.tell(record);
    }

    /// The next record.
    pub(crate) fn hear(&mut self) -> io::Result<ToGuest> {
        let mut header = [0; HEADER];
        self.fill(&mut header)?;
        let (kind, length) = length(header, LONGEST).ok_or(io::ErrorKind::InvalidData)?;
        let mut rest = vec![0; length];
        self.fill(&mut rest)?;
        ToGuest::decode(kind, &rest).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn fill(&self, mut rest: &mut [u8]) -> io::Result<()> {
        while !rest.is_empty() {
            let read = port::read(&self.port, rest)?;
            rest = rest.split_at_mut_checked(read).ok_or(io::ErrorKind::InvalidData)?.1;
        }
        Ok(())
    }
}

impl Teller {
    pub(crate) fn tell(&self, record: &ToHost) {
        let port = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Without a gateway the machine has nobody to tell, and ends with it.
        let _unheard = (&**port).write_all(&record.encode());
    }
}
