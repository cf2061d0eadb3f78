//! `longshore warm`: pulls images into the cache, by name or as files name them.
//!
//! Pulls through the daemon as a client would, or serves itself when none runs.

mod amazon;
mod compose;
mod door;
mod file;
mod interpolate;
mod kubernetes;
mod platform;
mod progress;
mod pull;
mod registry;
mod report;

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use clap::Args;
use tokio::runtime::Runtime;

use super::{BoxError, cache::Place, log};
use crate::{config::Config, credentials::behind_daemon};
use door::Door;
use platform::{Platform, Platforms};
use progress::{Progress, Volume};
use pull::{Job, Seen};
use registry::Origin;
use report::Report;

#[derive(Debug, Args)]
pub(super) struct Command {
    /// Images, such as 123456789012.dkr.ecr.us-east-1.amazonaws.com/app:v1
    #[arg(value_name = "IMAGE", required_unless_present = "from")]
    images: Vec<String>,
    /// A compose file, Kubernetes manifest, ECS task definition or Dockerrun.aws.json; - is standard input
    #[arg(long, value_name = "FILE")]
    from: Vec<PathBuf>,
    /// Which images of an index: os/architecture[/variant], or all; without it, what the file says, else this machine's
    #[arg(long, value_name = "PLATFORM", value_parser = platforms)]
    platform: Vec<Platforms>,
    /// Say nothing but what failed
    #[arg(long, short)]
    quiet: bool,
    /// Print what came of it as JSON
    #[arg(long)]
    json: bool,
}

fn platforms(text: &str) -> Result<Platforms, String> {
    if text == "all" { Ok(Platforms::All) } else { text.parse().map(|platform| Platforms::These(vec![platform])) }
}

pub(super) fn run(command: &Command) -> Result<ExitCode, BoxError> {
    let config = Place::open()?.config;
    log::start_if_asked()?;
    let mut wants = Wants { platforms: given(&command.platform), ..Wants::default() };
    command.images.iter().for_each(|image| wants.image(image, None));
    command.from.iter().for_each(|path| wants.file(path));
    let volume = if command.quiet { Volume::Failures } else { Volume::All };
    let report = Runtime::new()?.block_on(pull_all(&config, wants, volume))?;
    if command.json {
        writeln!(io::stdout(), "{:#}", serde_json::to_value(&report)?)?;
    } else if !command.quiet {
        writeln!(io::stdout(), "{report}")?;
    }
    Ok(if report.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Pulls one image for this machine; what goes wrong is the error.
pub(super) fn one(config: &Arc<Config>, image: &str) -> Result<(), BoxError> {
    log::start_if_asked()?;
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let door = Door::open(config).await?;
        let progress = Progress::new(Volume::All, 1);
        let pulled = match job(&door, image, Platforms::These(vec![Platform::own()])) {
            Ok(job) => {
                let shown = progress.image(image, 1);
                let pulled = pull::pull(&door.registry, &job, &mut Seen::new(), &shown).await;
                shown.give_up();
                pulled
            }
            Err(error) => Err(error),
        };
        progress.end();
        door.close().await?;
        Ok(pulled.map(drop)?)
    })
}

/// What is wanted, and what could not be read of it.
#[derive(Default)]
struct Wants {
    platforms: Option<Platforms>,
    images: Vec<(String, Platforms)>,
    notes: Vec<String>,
    unread: Vec<(String, String)>,
}

impl Wants {
    fn image(&mut self, image: &str, platform: Option<Platform>) {
        let own = || Platforms::These(vec![platform.unwrap_or_else(Platform::own)]);
        let wanted = (image.to_owned(), self.platforms.clone().unwrap_or_else(own));
        if !self.images.contains(&wanted) {
            self.images.push(wanted);
        }
    }

    fn file(&mut self, path: &std::path::Path) {
        match file::read(path) {
            Ok(found) => {
                self.notes.extend(found.notes.into_iter().map(|note| format!("{}: {note}", path.display())));
                found.wanted.into_iter().for_each(|wanted| self.image(&wanted.image, wanted.platform));
            }
            Err(problem) => self.unread.push((path.display().to_string(), problem)),
        }
    }
}

fn given(platforms: &[Platforms]) -> Option<Platforms> {
    let mut these = Vec::new();
    for platforms in platforms {
        match platforms {
            Platforms::All => return Some(Platforms::All),
            Platforms::These(more) => these.extend(more.iter().cloned()),
        }
    }
    Some(Platforms::These(these)).filter(|_| !platforms.is_empty())
}

/// An image's name as the daemon is asked for it: without the daemon's own address, which a file may have in front.
fn job(door: &Door, typed: &str, platforms: Platforms) -> Result<Job, String> {
    let image =
        behind_daemon(door.registry.address, typed).parse().map_err(|error: crate::oci::Invalid| error.to_string())?;
    Ok(Job { typed: typed.to_owned(), image, platforms })
}

async fn pull_all(config: &Arc<Config>, wants: Wants, volume: Volume) -> Result<Report, BoxError> {
    let (mut report, mut seen) = (Report::default(), Seen::new());
    let progress = Progress::new(volume, wants.images.len());
    wants.notes.iter().for_each(|note| progress.note(note));
    for (path, problem) in &wants.unread {
        progress.failed(problem);
        report.failed(path, problem);
    }
    if wants.images.is_empty() {
        return Ok(report);
    }
    let door = Door::open(config).await?;
    for (number, (typed, platforms)) in (1..).zip(wants.images) {
        let shown = progress.image(&typed, number);
        let pulled = match job(&door, &typed, platforms) {
            Ok(job) => pull::pull(&door.registry, &job, &mut seen, &shown).await,
            Err(problem) => Err(problem),
        };
        match pulled {
            Ok(pulled) => {
                if pulled.manifests.iter().any(|manifest| manifest.origin == Origin::Stale) {
                    progress.note(&format!("{typed}: upstream is out of order; what was cached may not be the newest"));
                }
                progress.came(&shown, &pulled);
                report.came(&typed, &pulled);
            }
            Err(problem) => {
                shown.give_up();
                progress.failed(&format!("{typed}: {problem}"));
                report.failed(&typed, &problem);
            }
        }
    }
    progress.end();
    door.close().await?;
    Ok(report)
}
