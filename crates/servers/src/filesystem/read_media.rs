//! Images and sound, as a model takes them.

use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::root::{Root, show};
use crate::tool::{Content, Effect, Job, Tool, ToolError};

/// Bytes of a file at most: larger ones are taken by no common model, and base64 adds a third.
const MAX_MEDIA_BYTES: u64 = 5 * 1024 * 1024;

pub(super) struct ReadMedia;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// The file.
    path: String,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Output {
    path: String,
    mime_type: &'static str,
    /// Size in bytes.
    size: u64,
    /// In `content` alone: base64 twice would be too much of a good thing.
    #[serde(skip)]
    data: String,
}

impl Tool for ReadMedia {
    type State = Root;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "read_media";
    const TITLE: &'static str = "Read an image or audio file";
    const DESCRIPTION: &'static str =
        "Reads an image (PNG, JPEG, GIF, WebP) or audio file (WAV, MP3, OGG, FLAC, M4A) of at most 5 MiB, to be looked at or listened to.";
    const EFFECT: Effect = Effect::Reads;

    fn run(root: &Root, input: Input, _job: &Job) -> Result<Output, ToolError> {
        let path = root.locate(&input.path)?;
        let (file, metadata) = root.open_file(&path)?;
        let mut bytes = Vec::new();
        file.take(MAX_MEDIA_BYTES + 1).read_to_end(&mut bytes).map_err(|error| root.fault(&path, &error))?;
        let shown = show(&path);
        let Some(mime_type) = media_type(&bytes) else {
            return Err(
                ToolError::new(format!("`{shown}` is no image or audio of a known kind")).with_hint("use read_file for text, also for SVG")
            );
        };
        if bytes.len() as u64 > MAX_MEDIA_BYTES {
            return Err(ToolError::new(format!("`{shown}` is too large: {} bytes, at most {MAX_MEDIA_BYTES}", metadata.len())));
        }
        Ok(Output { path: shown, mime_type, size: bytes.len() as u64, data: STANDARD.encode(&bytes) })
    }

    fn content(output: &Output) -> Option<Content> {
        let data = output.data.clone();
        Some(match output.mime_type.starts_with("image/") {
            true => Content::Image(data, output.mime_type),
            false => Content::Audio(data, output.mime_type),
        })
    }
}

/// The type that a file's first bytes show: its name may lie.
fn media_type(bytes: &[u8]) -> Option<&'static str> {
    let at = |offset: usize, magic: &[u8]| bytes.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    let mpeg_frame = matches!(bytes, [0xff, second, ..] if second & 0xe6 == 0xe2);
    Some(match () {
        () if at(0, b"\x89PNG\r\n\x1a\n") => "image/png",
        () if at(0, b"\xff\xd8\xff") => "image/jpeg",
        () if at(0, b"GIF87a") || at(0, b"GIF89a") => "image/gif",
        () if at(0, b"RIFF") && at(8, b"WEBP") => "image/webp",
        () if at(0, b"RIFF") && at(8, b"WAVE") => "audio/wav",
        () if at(0, b"ID3") || mpeg_frame => "audio/mpeg",
        () if at(0, b"OggS") => "audio/ogg",
        () if at(0, b"fLaC") => "audio/flac",
        () if at(4, b"ftypM4A") => "audio/mp4",
        () => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::media_type;

    #[test]
    fn the_first_bytes_decide() {
        assert_eq!(media_type(b"\x89PNG\r\n\x1a\n...."), Some("image/png"));
        assert_eq!(media_type(b"RIFF\0\0\0\0WEBPVP8 "), Some("image/webp"));
        assert_eq!(media_type(b"RIFF\0\0\0\0WAVEfmt "), Some("audio/wav"));
        assert_eq!(media_type(&[0xff, 0xfb, 0x90]), Some("audio/mpeg"));
        assert_eq!(media_type(&[0xff, 0xfe, b'a', 0]), None, "text in UTF-16");
        assert_eq!(media_type(b"#!/bin/sh"), None);
        assert_eq!(media_type(b""), None);
    }
}
