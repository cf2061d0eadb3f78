//! `longshore cache`: what is in the cache, and the work on it that is not a pull.
//!
//! A running daemon does the work and is asked over its control socket; without one the same is done here.

mod list;
mod work;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{Args, Subcommand};

use super::{BoxError, place::Problem, warm};
use crate::{
    chain::chain,
    server::control::{Answer, ImageWords, RemovedWords, Work},
};
use work::unexpected;
pub(super) use work::{Bytes, Place};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the images, those read last first
    Ls(list::Arguments),
    /// Say what the cache takes of the disk
    Du(Printed),
    /// Remove images, and what only they refer to
    Rm(Removal),
    /// Make images stay, however little they are read; pulls those that are not here
    Pin(Images),
    /// Let images go again when their room is needed
    Unpin(Images),
    /// Delete now what nothing refers to and nobody read for an hour, and what is over the limits
    Gc(Printed),
    /// Compare all content with its digest; what is damaged goes, and is fetched again
    Verify(Printed),
}

#[derive(Debug, Args)]
pub(super) struct Printed {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Images {
    /// Images, such as 123456789012.dkr.ecr.us-east-1.amazonaws.com/app:v1
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Removal {
    /// Images, such as 123456789012.dkr.ecr.us-east-1.amazonaws.com/app:v1
    #[arg(value_name = "IMAGE", required_unless_present = "all")]
    images: Vec<String>,
    /// All images but those that are pinned
    #[arg(long, conflicts_with = "images")]
    all: bool,
}

pub(super) fn run(command: &Command) -> Result<ExitCode, BoxError> {
    let place = Place::open()?;
    let mut out = io::stdout().lock();
    match command {
        Command::Ls(arguments) => list::run(&place, arguments, &mut out)?,
        Command::Du(Printed { json }) => usage(&place, *json, &mut out)?,
        Command::Rm(removal) => return remove(&place, removal, &mut out),
        Command::Pin(Images { images }) => return each(images, |image| pin(&place, image, &mut out)),
        Command::Unpin(Images { images }) => return each(images, |image| unpin(&place, image, &mut out)),
        Command::Gc(Printed { json }) => {
            let Answer::Removed(Some(removed)) = place.perform(&Work::CollectGarbage)? else {
                return Err(unexpected());
            };
            if *json {
                writeln!(out, "{:#}", serde_json::to_value(removed)?)?;
            } else {
                writeln!(out, "{}", freed(&removed))?;
            }
        }
        Command::Verify(Printed { json }) => return verify(&place, *json, &mut out),
    }
    Ok(ExitCode::SUCCESS)
}

/// Does something to each image; what fails is one line, and the others go on.
fn each(images: &[String], mut work: impl FnMut(&str) -> Result<(), BoxError>) -> Result<ExitCode, BoxError> {
    let mut code = ExitCode::SUCCESS;
    for image in images {
        let Err(error) = work(image) else { continue };
        writeln!(io::stderr(), "longshore: {image}: {}", chain(&*error))?;
        if let Some(problem) = error.downcast_ref::<Problem>() {
            writeln!(io::stderr(), "longshore: {}", problem.remedy)?;
        }
        code = ExitCode::FAILURE;
    }
    Ok(code)
}

fn remove(place: &Place, removal: &Removal, out: &mut dyn Write) -> Result<ExitCode, BoxError> {
    let mut images = removal.images.clone();
    if removal.all {
        let Answer::Images(found) = place.perform(&Work::Images)? else { return Err(unexpected()) };
        let by_digest = |image: &ImageWords| format!("{}@{}", image.repository, image.digest);
        images.extend(found.iter().filter(|image| !image.pinned).map(by_digest));
    }
    each(&images, |image| {
        let Answer::Removed(removed) = place.perform(&Work::Remove { image: image.to_owned() })? else {
            return Err(unexpected());
        };
        let removed = removed.ok_or("it is not in the cache")?;
        writeln!(out, "{image}: {}", freed(&removed))?;
        Ok(())
    })
}

fn pin(place: &Place, image: &str, out: &mut dyn Write) -> Result<(), BoxError> {
    let work = Work::Pin { image: image.to_owned(), on: true };
    let pin = || match place.perform(&work)? {
        Answer::Pinned(pinned) => Ok(pinned),
        _ => Err(unexpected()),
    };
    let mut pinned = pin()?;
    let is_here = pinned.as_ref().map(|digest| is_complete(place, digest)).transpose()?;
    if is_here != Some(true) {
        warm::one(&place.config, image)?;
        // by now the tag may point to another one
        pinned = pin()?;
    }
    let digest = pinned.ok_or("it was pulled, and is not in the cache: is the disk full?")?;
    writeln!(out, "{image}: pinned, {digest}")?;
    Ok(())
}

/// What is pinned shall be there when it is needed: all of it.
fn is_complete(place: &Place, digest: &str) -> Result<bool, BoxError> {
    let Answer::Images(images) = place.perform(&Work::Images)? else { return Err(unexpected()) };
    Ok(images.iter().all(|image| image.digest != digest || image.complete))
}

fn unpin(place: &Place, image: &str, out: &mut dyn Write) -> Result<(), BoxError> {
    let work = Work::Pin { image: image.to_owned(), on: false };
    let Answer::Pinned(pinned) = place.perform(&work)? else { return Err(unexpected()) };
    let digest = pinned.ok_or("it is not pinned")?;
    writeln!(out, "{image}: no longer pinned, {digest}")?;
    Ok(())
}

fn usage(place: &Place, json: bool, out: &mut dyn Write) -> Result<(), BoxError> {
    let Answer::Usage(usage) = place.perform(&Work::Usage)? else { return Err(unexpected()) };
    if json {
        let mut value = serde_json::to_value(&usage)?;
        let registries = usage.registries.into_iter().map(|(name, bytes)| (name, bytes.into()));
        value["registries"] = serde_json::Value::Object(registries.collect());
        writeln!(out, "{value:#}")?;
        return Ok(());
    }
    let lines = [
        ("total", usage.total, String::new()),
        ("content", usage.content, plural(usage.objects, "object")),
        ("in flight", usage.staging, String::new()),
        ("records", usage.records, String::new()),
        ("pinned", usage.pinned, String::new()),
        ("at most", usage.bound, "cache.max_size".to_owned()),
        ("keep free", usage.min_free, "cache.min_free".to_owned()),
    ];
    let mut line = |name: &str, bytes, note: &str| {
        let bytes = Bytes(bytes).to_string();
        writeln!(out, "{}", format!("{name:<10} {bytes:>9}  {note}").trim_end())
    };
    for (name, bytes, note) in &lines {
        line(name, *bytes, note)?;
    }
    for (registry, bytes) in &usage.registries {
        line("from", *bytes, registry)?;
    }
    Ok(())
}

fn verify(place: &Place, json: bool, out: &mut dyn Write) -> Result<ExitCode, BoxError> {
    let Answer::Verified(found) = place.perform(&Work::Verify)? else { return Err(unexpected()) };
    if json {
        writeln!(out, "{:#}", serde_json::to_value(&found)?)?;
    } else {
        let damaged = found.damaged.len();
        let words = if damaged == 0 { "nothing is damaged".to_owned() } else { format!("{damaged} damaged") };
        writeln!(out, "{}, {}: {words}", plural(found.objects, "object"), Bytes(found.bytes))?;
        for digest in &found.damaged {
            writeln!(out, "{digest}: damaged; it is fetched again when it is asked for")?;
        }
    }
    Ok(if found.damaged.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn freed(removed: &RemovedWords) -> String {
    let (manifests, blobs) = (plural(removed.manifests, "manifest"), plural(removed.blobs, "blob"));
    format!("removed {manifests} and {blobs}, freed {}", Bytes(removed.bytes))
}

fn plural(count: u64, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}
