//! The file system of the fake's layers: a program that says hello and a file of noise.
//!
//! The program is a hand-made static ELF for x86-64 Linux; other platforms can unpack it, never run it.
use flate2::Crc;

use super::digest;

const GREETING: &[u8] = b"hello from the fake ECR\n";
const BASE: u64 = 0x40_0000;
const HEADERS: u64 = 64 + 56;

/// A layer before compression: `/hello` and `/data/<seed>.bin` of `size` incompressible bytes.
pub(super) fn layer_tar(seed: u64, size: usize) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::with_capacity(size + 8192));
    add(&mut tar, "hello", 0o755, &program());
    let name = format!("data/{seed:016x}.bin");
    add(&mut tar, &name, 0o644, &digest::noise(seed, size));
    tar.into_inner().expect("a Vec takes every byte")
}

/// Stored, not deflated, and by hand: noise does not shrink, and a debug build deflates slowly.
pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 10_000 + 64);
    out.extend([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);
    let mut blocks = bytes.chunks(usize::from(u16::MAX)).peekable();
    if bytes.is_empty() {
        out.extend([1, 0, 0, 0xff, 0xff]);
    }
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        out.push(u8::from(blocks.peek().is_none()));
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend_from_slice(block);
    }
    let mut sum = Crc::new();
    sum.update(bytes);
    out.extend(sum.sum().to_le_bytes());
    out.extend(sum.amount().to_le_bytes());
    out
}

fn add(tar: &mut tar::Builder<Vec<u8>>, name: &str, mode: u32, content: &[u8]) {
    let mut header = tar::Header::new_ustar();
    header.set_size(u64::try_from(content.len()).unwrap_or(0));
    header.set_mode(mode);
    header.set_mtime(1_704_067_200);
    tar.append_data(&mut header, name, content).expect("a Vec takes every byte");
}

fn program() -> Vec<u8> {
    let mut code = vec![0xb8, 1, 0, 0, 0]; // mov eax, 1 (write)
    code.extend([0xbf, 1, 0, 0, 0]); // mov edi, 1 (stdout)
    code.extend([0x48, 0x8d, 0x35, 16, 0, 0, 0]); // lea rsi, [rip + 16]
    code.extend([0xba, u8::try_from(GREETING.len()).unwrap_or(0), 0, 0, 0]); // mov edx, length
    code.extend([0x0f, 0x05]); // syscall
    code.extend([0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05]); // exit(0)
    code.extend_from_slice(GREETING);
    let size = HEADERS + u64::try_from(code.len()).unwrap_or(0);

    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    elf.extend([2, 0, 0x3e, 0, 1, 0, 0, 0]); // executable, x86-64, version 1
    for word in [BASE + HEADERS, 64, 0] {
        elf.extend(word.to_le_bytes()); // entry, program headers, no sections
    }
    elf.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    elf.extend([1, 0, 0, 0, 5, 0, 0, 0]); // load, read and execute
    for word in [0, BASE, BASE, size, size, 0x1000] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(code);
    elf
}
