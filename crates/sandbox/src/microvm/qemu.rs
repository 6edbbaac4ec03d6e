//! QEMU's `microvm` machine: no PCI, no firmware to speak of, two virtio devices, and one for each folder to write.

use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::qmp::Qmp;
use super::vmm::{Accelerator, Begins, CONTROL_SOCKET, DISK_SOCKET, EGRESS_SOCKET, MEMORY, STDIO_SOCKET, STEER_SOCKET, Shape, Vmm};

/// The program's name.
pub(crate) const PROGRAM: &str = "qemu-system-x86_64";

/// Of the kernel. Drivers are found through ACPI, which stays on. The machine belongs to one program, so there is nobody from whom
/// mitigations would protect it. It is stopped for as long as nobody calls: watchdogs must not take that for a fault.
pub(super) const COMMAND_LINE: &str = "reboot=t panic=-1 quiet loglevel=0 mitigations=off random.trust_cpu=on cryptomgr.notests nokaslr \
     audit=0 apparmor=0 ima=off 8250.nr_uarts=0 i8042.nokbd i8042.noaux nowatchdog rcupdate.rcu_cpu_stall_suppress=1";

/// What a kernel on an emulated processor is told beside it: how fast the clock is that it sees, which is the host's own time stamp counter.
/// It would have to find that out by a timer, and on a busy machine waits for it for ever.
fn clock(khz: u64) -> String {
    format!("tsc=reliable tsc_early_khz={khz} lpj={}", khz * 1000 / TICKS)
}

/// Of Debian's kernels, in a second. Where it is another number, only delays of microseconds come out longer or shorter.
const TICKS: u64 = 250;

/// MiB for translated code: with 32, Node's does not fit and is translated again and again. A small program fills a part of it.
const TRANSLATED_MB: u32 = 64;

/// The ports, as the guest finds them, and the sockets that they lead to.
const PORTS: [(&str, &str); 3] = [
    (sallyport_guest::CONTROL_PORT, CONTROL_SOCKET),
    (sallyport_guest::STDIO_PORT, STDIO_SOCKET),
    (sallyport_guest::EGRESS_PORT, EGRESS_SOCKET),
];

/// The monitor.
pub(super) struct Qemu;

impl Vmm for Qemu {
    fn command(&self, shape: &Shape, begins: Begins) -> (&'static str, Vec<String>) {
        let Shape { guest, memory_mb, accelerator, folders } = shape;
        let (accelerator, processor, line) = match accelerator {
            Accelerator::Kvm => ("kvm".to_owned(), "host", COMMAND_LINE.to_owned()),
            Accelerator::Emulation { khz } => {
                (format!("tcg,thread=single,tb-size={TRANSLATED_MB}"), "max", format!("{COMMAND_LINE} {}", clock(*khz)))
            }
        };
        let [kernel, initramfs] = [&guest.kernel, &guest.initramfs].map(|path| path.to_string_lossy().into_owned());
        let mut pairs: Vec<(&str, String)> = vec![
            ("-M", "microvm,rtc=on,memory-backend=ram".to_owned()),
            ("-m", format!("{memory_mb}M")),
            ("-object", format!("memory-backend-file,id=ram,size={memory_mb}M,mem-path={MEMORY},share=on")),
            ("-accel", accelerator),
            ("-cpu", processor.to_owned()),
            ("-smp", "1".to_owned()),
            ("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny".to_owned()),
            ("-display", "none".to_owned()),
            ("-monitor", "none".to_owned()),
            ("-blockdev", format!("nbd,node-name=shown,server.type=unix,server.path={DISK_SOCKET},read-only=on")),
            ("-device", "virtio-blk-device,drive=shown".to_owned()),
            // Port 0 is taken.
            ("-device", "virtio-serial-device,max_ports=4".to_owned()),
        ];
        match begins {
            Begins::Booting | Begins::ToBeSaved => pairs.extend([("-kernel", kernel), ("-initrd", initramfs), ("-append", line)]),
            Begins::Saved => pairs.push(("-incoming", "defer".to_owned())),
        }
        if begins != Begins::Booting {
            pairs.push(("-chardev", format!("socket,id={STEER_SOCKET},path={STEER_SOCKET}")));
            pairs.push(("-mon", format!("chardev={STEER_SOCKET},mode=control")));
        }
        for (name, socket) in PORTS {
            pairs.push(("-chardev", format!("socket,id={socket},path={socket}")));
            pairs.push(("-device", format!("virtserialport,chardev={socket},name={name}")));
        }
        for (number, folder) in folders.iter().enumerate() {
            // Of a machine to be saved nobody uses it: its own folder stands for those of its copies.
            let folder = if begins == Begins::ToBeSaved { Path::new(".") } else { folder };
            let tag = sallyport_guest::folder_tag(number);
            let served = folder.to_string_lossy().replace(',', ",,");
            pairs.push(("-fsdev", format!("local,id={tag},security_model=none,multidevs=remap,path={served}")));
            pairs.push(("-device", format!("virtio-9p-device,fsdev={tag},mount_tag={tag}")));
        }
        let mut args: Vec<String> = ["-nodefaults", "-no-user-config", "-no-reboot"].map(str::to_owned).to_vec();
        args.extend(pairs.into_iter().flat_map(|(option, value)| [option.to_owned(), value]));
        (PROGRAM, args)
    }
    fn save(&self, steer: UnixStream, state: &File) -> io::Result<()> {
        Qmp::new(steer)?.save(state)
    }

    fn restore(&self, steer: UnixStream, state: &File) -> io::Result<()> {
        Qmp::new(steer)?.restore(state)
    }
}
