//! `longshore cache ls`: the images as a table.

use std::{io::Write, time::SystemTime};

use clap::Args;

use super::work::{Bytes, Place, unexpected};
use crate::{
    cli::{BoxError, place::near, tokens::table},
    server::control::{Answer, ImageWords, Work},
};

const TITLES: [&str; 7] = ["IMAGE", "TAGS", "DIGEST", "SIZE", "COMPLETE", "PINNED", "LAST READ"];
/// As many digits as docker shows.
const SHORT: usize = 12;

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print digests in full
    #[arg(long)]
    digests: bool,
}

pub(super) fn run(place: &Place, arguments: &Arguments, out: &mut dyn Write) -> Result<(), BoxError> {
    let Answer::Images(images) = place.perform(&Work::Images)? else { return Err(unexpected()) };
    if arguments.json {
        writeln!(out, "{:#}", serde_json::to_value(&images)?)?;
    } else if images.is_empty() {
        writeln!(out, "no image is in the cache {}", place.dir().display())?;
    } else {
        let now = SystemTime::now();
        let rows: Vec<_> = images.iter().map(|image| row(image, arguments.digests, now)).collect();
        out.write_all(table(&TITLES.map(str::to_owned), &rows).as_bytes())?;
    }
    Ok(())
}

fn row(image: &ImageWords, is_long: bool, now: SystemTime) -> [String; 7] {
    let hex = image.digest.strip_prefix("sha256:").unwrap_or(&image.digest);
    let yes = |yes| if yes { "yes" } else { "no" }.to_owned();
    [
        image.repository.clone(),
        if image.tags.is_empty() { "-".to_owned() } else { image.tags.join(",") },
        if is_long { image.digest.clone() } else { hex.get(..SHORT).unwrap_or(hex).to_owned() },
        Bytes(image.size).to_string(),
        yes(image.complete),
        yes(image.pinned),
        near(image.read_at.into(), now),
    ]
}
