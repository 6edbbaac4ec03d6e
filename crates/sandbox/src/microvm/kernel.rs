//! Unpacks a compressed kernel: QEMU then starts the kernel itself, and nothing is unpacked in each cold boot, which costs half a second of
//! an emulated processor.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use super::prepare::failed;
use crate::error::Error;

/// Distributions' kernels are some ten megabytes packed and sixty unpacked.
const LARGEST: usize = 512 * 1024 * 1024;

const ELF: &[u8] = b"\x7fELF";
/// Where a bzImage says what it is and where its payload lies (the kernel's Documentation/arch/x86/boot.rst).
const MAGIC: (usize, &[u8]) = (0x202 - 4, b"HdrS");
const LZ4_LEGACY: &[u8] = &[0x02, 0x21, 0x4c, 0x18];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const XZ: &[u8] = b"\xfd7zXZ\0";
/// What each block of LZ4's legacy frame holds at most when it is unpacked.
const LZ4_BLOCK: usize = 8 * 1024 * 1024;

/// The kernel as an ELF file, from that or from a bzImage.
pub(super) fn unpack(file: &Path) -> Result<Vec<u8>, Error> {
    let size = fs::metadata(file).map_err(|cause| failed(format_args!("kernel {} cannot be read", file.display()), &cause))?.len();
    if size > LARGEST as u64 {
        return Err(Error::new(format!("{} is too large for a kernel", file.display())));
    }
    let image = fs::read(file).map_err(|cause| failed(format_args!("kernel {} cannot be read", file.display()), &cause))?;
    if image.starts_with(ELF) {
        return Ok(image);
    }
    let payload =
        payload(&image).ok_or_else(|| Error::new(format!("{} is neither an ELF file nor a bzImage for x86-64", file.display())))?;
    let kernel = match payload {
        _ if payload.starts_with(LZ4_LEGACY) => lz4(payload.get(LZ4_LEGACY.len()..).unwrap_or_default()),
        _ if payload.starts_with(ZSTD) => unpacked_by("zstd", &["--memory=512MB"], payload)?,
        _ if payload.starts_with(XZ) => unpacked_by("xz", &["--single-stream"], payload)?,
        _ => None,
    };
    kernel.filter(|kernel| kernel.starts_with(ELF)).ok_or_else(|| {
        Error::new(format!("kernel {} is packed in a way that is not known here (known: LZ4, xz, zstd)", file.display()))
            .with_hint("unpack it to an ELF file, with the kernel's scripts/extract-vmlinux, and give that")
    })
}

/// The packed kernel inside a bzImage; its last four bytes are the unpacked size.
fn payload(image: &[u8]) -> Option<&[u8]> {
    let number = |at: usize| image.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    if image.get(MAGIC.0 + 4..MAGIC.0 + 8)? != MAGIC.1 {
        return None;
    }
    let sectors = match *image.get(0x1f1)? {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = (sectors + 1) * 512 + usize::try_from(number(0x248)?).ok()?;
    let length = usize::try_from(number(0x24c)?).ok()?.checked_sub(4)?;
    image.get(start..start.checked_add(length)?)
}

/// Blocks, each with its packed length before it.
fn lz4(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut kernel = Vec::new();
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (block, after) = after.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        kernel.extend(lz4_flex::block::decompress(block, LZ4_BLOCK).ok()?);
        if kernel.len() > LARGEST {
            return None;
        }
        rest = after;
    }
    Some(kernel)
}

/// By a program: kernels packed so come from distributions that have it.
fn unpacked_by(program: &str, options: &[&str], payload: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    let absent = |cause: std::io::Error| {
        let package = if program == "xz" { "xz-utils" } else { program };
        failed(format_args!("the kernel cannot be unpacked with {program}"), &cause)
            .with_hint(format!("install it, for example `apt-get install {package}`"))
    };
    let mut unpacker = Command::new(program)
        .args(["--decompress", "--stdout", "--quiet"])
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(absent)?;
    let (stdin, packed) = (unpacker.stdin.take(), payload.to_vec());
    let feed = std::thread::spawn(move || stdin.map(|mut stdin| stdin.write_all(&packed)));
    let output = unpacker.wait_with_output().map_err(absent)?;
    // What it did not take shows in what it gave.
    let _fed = feed.join();
    Ok(Some(output.stdout).filter(|kernel| output.status.success() && kernel.len() <= LARGEST))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    fn image(payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 1024];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(MAGIC.1);
        image[0x24c..0x250].copy_from_slice(&u32::try_from(payload.len() + 4).unwrap().to_le_bytes());
        image.extend(payload);
        image.extend([0; 4]);
        image
    }

    fn unpacked(image: &[u8]) -> Result<Vec<u8>, Error> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), image).unwrap();
        unpack(file.path())
    }

    #[test]
    fn a_kernel_packed_with_lz4_is_unpacked() {
        let kernel = [ELF, &[7; 100_000]].concat();
        let mut payload = LZ4_LEGACY.to_vec();
        for block in kernel.chunks(60_000) {
            let packed = lz4_flex::block::compress(block);
            payload.extend(u32::try_from(packed.len()).unwrap().to_le_bytes());
            payload.extend(packed);
        }
        assert_eq!(unpacked(&image(&payload)).unwrap(), kernel);
        assert_eq!(unpacked(&kernel).unwrap(), kernel, "an ELF file as it is");
        payload.truncate(payload.len() - 3);
        assert!(unpacked(&image(&payload)).is_err());
    }

    #[test]
    fn a_kernel_packed_with_xz_is_unpacked() {
        let kernel = [ELF, &[7; 100_000]].concat();
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), &kernel).unwrap();
        let packed = Command::new("xz").args(["--compress", "--stdout", "--check=crc32"]).arg(file.path()).output().unwrap().stdout;
        assert_eq!(unpacked(&image(&packed)).unwrap(), kernel);
        assert!(unpacked(&image(&packed[..packed.len() - 4])).is_err());
    }

    #[test]
    fn what_is_no_kernel_is_refused() {
        for junk in [&b""[..], b"HdrS", &image(b"junk"), &image(ZSTD)[..700]] {
            assert!(unpacked(junk).is_err());
        }
        let mut beyond = image(LZ4_LEGACY);
        beyond[0x24c..0x250].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(unpacked(&beyond).is_err());
    }
}
