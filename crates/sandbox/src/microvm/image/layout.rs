//! Where everything lies on the disk: the superblock, inodes with the ends of folders and links behind them, the other blocks of folders,
//! the blocks of files.

use rustix::fs::FileType;

use super::tree::{Content, Node, Tree};
use super::{BLOCK, Extent, Image};
use crate::error::Error;

const MAGIC: u32 = 0xE0F5_E1E2;
/// Of a block, as a power of two.
const BLOCK_BITS: u8 = 12;
/// The superblock lies at 1024 and is this long.
const SUPERBLOCK: (u64, u64) = (1024, 128);

/// The form with a time and 64 bits of size.
const INODE: u64 = 64;
const EXTENDED: u16 = 1;
/// Inodes are counted in units of this.
const UNIT: u64 = 32;

/// How a file's content lies: in blocks of its own, or its last piece behind the inode.
const PLAIN: u16 = 0;
const INLINE: u16 = 2;

const DIRENT: usize = 12;

/// Where one node lies.
#[derive(Clone, Copy, Default)]
struct Place {
    inode: u64,
    /// Its first whole block; 0 where there is none.
    block: u64,
    size: u64,
    is_inline: bool,
}

pub(super) fn lay_out(mut tree: Tree) -> Result<Image, Error> {
    sort(&mut tree);
    let mut places = vec![Place::default(); tree.nodes.len()];
    let after_inodes = place_inodes(&tree, &mut places);
    let metadata_size = place_blocks(&tree, &mut places, after_inodes);
    let (files, size) = place_files(&tree, &mut places, metadata_size);
    u32::try_from(size / BLOCK).map_err(|_| {
        Error::new("what a microVM shows may be 16 TiB at most").with_hint("name narrower folders in `read`, or use sandbox = \"os\"")
    })?;

    let mut disk = Disk(vec![0; usize::try_from(metadata_size).unwrap_or(usize::MAX)]);
    disk.superblock(&places, size);
    for (position, node) in tree.nodes.iter().enumerate() {
        disk.node(node, position, &tree, &places);
    }
    Ok(Image { metadata: disk.0, files, size })
}

/// The kernel searches names by halves.
fn sort(tree: &mut Tree) {
    for position in 0..tree.nodes.len() {
        let Some(Node { content: Content::Folder(inside), .. }) = tree.nodes.get_mut(position) else { continue };
        let mut inside = std::mem::take(inside);
        inside.sort_by(|one, other| name(tree, *one).cmp(name(tree, *other)));
        if let Some(node) = tree.nodes.get_mut(position) {
            node.content = Content::Folder(inside);
        }
    }
}

fn name(tree: &Tree, position: usize) -> &[u8] {
    tree.nodes.get(position).map_or(&[], |node| &node.name)
}

/// Gives each inode its place; the first unit after them.
fn place_inodes(tree: &Tree, places: &mut [Place]) -> u64 {
    let mut next = SUPERBLOCK.0 + SUPERBLOCK.1;
    for (position, (node, place)) in tree.nodes.iter().zip(places).enumerate() {
        place.size = match &node.content {
            Content::Folder(_) => folder_size(&entries(tree, position)),
            Content::Text(text) => text.len() as u64,
            Content::File { size, .. } => *size,
        };
        let tail = place.size % BLOCK;
        place.is_inline = !matches!(node.content, Content::File { .. }) && tail != 0 && INODE + tail <= BLOCK;
        let length = if place.is_inline { INODE + tail } else { INODE };
        // Neither an inode nor what lies behind it may cross into the next block.
        if next / BLOCK != (next + length - 1) / BLOCK {
            next = next.next_multiple_of(BLOCK);
        }
        place.inode = next;
        next = (next + length).next_multiple_of(UNIT);
    }
    next
}

/// Gives the whole blocks of folders and links theirs; where the metadata ends.
fn place_blocks(tree: &Tree, places: &mut [Place], after_inodes: u64) -> u64 {
    let mut next = after_inodes.next_multiple_of(BLOCK);
    for (node, place) in tree.nodes.iter().zip(places) {
        let whole = if place.is_inline { place.size - place.size % BLOCK } else { place.size.next_multiple_of(BLOCK) };
        if whole > 0 && !matches!(node.content, Content::File { .. }) {
            place.block = next / BLOCK;
            next += whole;
        }
    }
    next
}

/// Gives files their blocks; the extents and the disk's size.
fn place_files(tree: &Tree, places: &mut [Place], metadata: u64) -> (Vec<Extent>, u64) {
    let (mut files, mut next) = (Vec::new(), metadata);
    for (position, (node, place)) in tree.nodes.iter().zip(places).enumerate() {
        if let Content::File { size, identity, .. } = node.content
            && size > 0
        {
            place.block = next / BLOCK;
            files.push(Extent { start: next, size, path: tree.source(position), identity });
            next = next.saturating_add(size.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX));
        }
    }
    (files, next)
}

/// Names with where they lead, `.` and `..` among them, in order.
fn entries(tree: &Tree, position: usize) -> Vec<(&[u8], usize)> {
    let Some(node) = tree.nodes.get(position) else { return Vec::new() };
    let Content::Folder(inside) = &node.content else { return Vec::new() };
    let mut entries: Vec<(&[u8], usize)> = inside.iter().map(|one| (name(tree, *one), *one)).collect();
    for own in [(&b"."[..], position), (&b".."[..], node.parent)] {
        let at = entries.partition_point(|(name, _)| *name < own.0);
        entries.insert(at, own);
    }
    entries
}

/// Entries as they share blocks: none crosses into the next.
fn in_blocks<'a>(entries: &'a [(&'a [u8], usize)]) -> Vec<&'a [(&'a [u8], usize)]> {
    let (mut blocks, mut rest) = (Vec::new(), entries);
    while !rest.is_empty() {
        let mut used = 0;
        let fits = |(name, _): &&(&[u8], usize)| {
            used += DIRENT + name.len();
            used as u64 <= BLOCK
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let (block, after) = rest.split_at(count);
        blocks.push(block);
        rest = after;
    }
    blocks
}

fn block_size(block: &[(&[u8], usize)]) -> u64 {
    block.iter().map(|(name, _)| (DIRENT + name.len()) as u64).sum()
}

fn folder_size(entries: &[(&[u8], usize)]) -> u64 {
    let blocks = in_blocks(entries);
    let last = blocks.last().map_or(0, |block| block_size(block));
    blocks.len().saturating_sub(1) as u64 * BLOCK + last
}

/// The disk's first bytes.
struct Disk(Vec<u8>);

impl Disk {
    fn write(&mut self, at: u64, bytes: &[u8]) {
        let start = usize::try_from(at).unwrap_or(usize::MAX);
        for (to, from) in self.0.iter_mut().skip(start).zip(bytes) {
            *to = *from;
        }
    }

    fn superblock(&mut self, places: &[Place], size: u64) {
        let root = places.first().map_or(0, |place| place.inode / UNIT);
        let at = SUPERBLOCK.0;
        self.write(at, &MAGIC.to_le_bytes());
        self.write(at + 12, &[BLOCK_BITS]);
        self.write(at + 14, &u16::try_from(root).unwrap_or(0).to_le_bytes());
        self.write(at + 16, &(places.len() as u64).to_le_bytes());
        self.write(at + 36, &short(size / BLOCK).to_le_bytes());
    }

    fn node(&mut self, node: &Node, position: usize, tree: &Tree, places: &[Place]) {
        let Some(place) = places.get(position).copied() else { return };
        self.inode(node, position, place);
        match &node.content {
            Content::Folder(_) => {
                let entries = entries(tree, position);
                let blocks = in_blocks(&entries);
                for (number, block) in blocks.iter().enumerate() {
                    self.content(place, number, &dirents(block, tree, places));
                }
            }
            Content::Text(text) => text.chunks(4096).enumerate().for_each(|(number, chunk)| self.content(place, number, chunk)),
            Content::File { .. } => {}
        }
    }

    fn inode(&mut self, node: &Node, position: usize, place: Place) {
        let layout = if place.is_inline { INLINE } else { PLAIN };
        let links: u32 = match &node.content {
            Content::Folder(_) => 2,
            _ => 1,
        };
        let at = place.inode;
        self.write(at, &(EXTENDED | (layout << 1)).to_le_bytes());
        self.write(at + 4, &u16::try_from(node.mode).unwrap_or(0).to_le_bytes());
        self.write(at + 8, &place.size.to_le_bytes());
        self.write(at + 16, &short(place.block).to_le_bytes());
        self.write(at + 20, &short(position as u64 + 1).to_le_bytes());
        self.write(at + 24, &node.uid.to_le_bytes());
        self.write(at + 28, &node.gid.to_le_bytes());
        self.write(at + 32, &node.modified.0.to_le_bytes());
        self.write(at + 40, &node.modified.1.to_le_bytes());
        self.write(at + 44, &links.to_le_bytes());
    }

    /// One block of a folder's or link's content; the last one may lie behind the inode.
    fn content(&mut self, place: Place, number: usize, bytes: &[u8]) {
        let is_last = number as u64 == place.size / BLOCK;
        let at = if place.is_inline && is_last { place.inode + INODE } else { (place.block + number as u64) * BLOCK };
        self.write(at, bytes);
    }
}

/// Checked where the disk's size is.
fn short(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// One block of a folder: where each name leads and lies, then the names.
fn dirents(block: &[(&[u8], usize)], tree: &Tree, places: &[Place]) -> Vec<u8> {
    let mut names_at = block.len() * DIRENT;
    let mut bytes = Vec::new();
    for (name, leads_to) in block {
        let number = places.get(*leads_to).map_or(0, |place| place.inode / UNIT);
        let mode = tree.nodes.get(*leads_to).map_or(0, |node| node.mode);
        let kind = match FileType::from_raw_mode(mode) {
            FileType::Directory => 2,
            FileType::Symlink => 7,
            _ => 1,
        };
        bytes.extend(number.to_le_bytes());
        bytes.extend(u16::try_from(names_at).unwrap_or(0).to_le_bytes());
        bytes.extend([kind, 0]);
        names_at += name.len();
    }
    for (name, _) in block {
        bytes.extend(*name);
    }
    bytes
}
