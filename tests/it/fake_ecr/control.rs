//! The control interface over HTTP, for tests that run the fake as a program of its own.
//!
//! It does nothing that [`FakeEcr`](super::FakeEcr) cannot do in process, and it is never logged.
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::State;
use super::fault::Rule;
use super::http::{Answer, Incoming};
use super::image::Image;
use super::knob::Knob;
use super::route::Registry;

pub(super) async fn answer(state: &Arc<State>, incoming: &Incoming) -> Answer {
    let path = incoming.path().trim_end_matches('/');
    if (incoming.method.as_str(), path) == ("POST", "/partition") {
        return partition(state, incoming).await;
    }
    let outcome = match (incoming.method.as_str(), path) {
        ("GET", "/requests" | "/log") => Ok(requests(state, incoming)),
        ("DELETE", "/requests" | "/log") => {
            state.log.clear();
            Ok(json!({}))
        }
        ("GET", "/calls") => Ok(json!(state.log.calls())),
        ("GET", "/stats") => Ok(json!(state.log.stats())),
        ("GET", "/ca") => return Answer::new(200).body(state.ca_pem.clone()),
        ("POST", "/clock") => advance(state, incoming),
        ("POST" | "PUT", "/knobs") => knobs(state, incoming),
        ("POST", "/faults") => read::<Rule>(incoming).map(|rule| json!({"id": state.faults.add(rule).0.id})),
        ("GET", "/faults") => Ok(faults(state)),
        ("DELETE", "/faults") => {
            state.faults.clear();
            Ok(json!({}))
        }
        ("POST", path) if path.starts_with("/faults/") => release(state, path),
        ("PUT", path) if path.starts_with("/images/") => image(state, incoming, &path[8..]),
        _ => return Answer::json(404, &json!({"error": "no such control"})),
    };
    match outcome {
        Ok(value) => Answer::json(200, &value),
        Err(error) => Answer::json(400, &json!({"error": error})),
    }
}

/// All requests, or with `?running` those that are being answered.
fn requests(state: &State, incoming: &Incoming) -> Value {
    let mut all = state.log.requests();
    if incoming.raw_query() == "running" {
        all.retain(|request| !request.finished && !request.aborted);
    }
    json!(all)
}

fn read<T: DeserializeOwned>(incoming: &Incoming) -> Result<T, String> {
    serde_json::from_slice(&incoming.body).map_err(|error| error.to_string())
}

async fn partition(state: &Arc<State>, incoming: &Incoming) -> Answer {
    let Ok(Value::Bool(on)) = read::<Value>(incoming).map(|body| body["on"].clone()) else {
        return Answer::json(400, &json!({"error": "want {\"on\": true|false}"}));
    };
    state.partition(on).await;
    Answer::json(200, &json!({"on": on}))
}

fn advance(state: &State, incoming: &Incoming) -> Result<Value, String> {
    let body = read::<Value>(incoming)?;
    let seconds = body["advance_seconds"].as_f64();
    let seconds = seconds.ok_or("want {\"advance_seconds\": N}")?;
    let by = Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
    state.clock.advance(by);
    Ok(json!({"now": state.clock.now().as_secs_f64()}))
}

/// One object, each member a knob: `{"get_digest": true, "s3_rate": 20000000}`.
fn knobs(state: &State, incoming: &Incoming) -> Result<Value, String> {
    let body = read::<serde_json::Map<String, Value>>(incoming)?;
    let mut all = Vec::new();
    for (name, value) in body {
        let knob = serde_json::from_value::<Knob>(json!({name: value}));
        all.push(knob.map_err(|error| error.to_string())?);
    }
    for knob in all {
        state.set(knob);
    }
    Ok(json!({}))
}

fn faults(state: &State) -> Value {
    let all = state.faults.all();
    let all = all.iter().map(|fault| json!({"id": fault.0.id, "hits": fault.hits()}));
    Value::Array(all.collect())
}

fn release(state: &State, path: &str) -> Result<Value, String> {
    let id = path.strip_prefix("/faults/");
    let id = id.and_then(|rest| rest.strip_suffix("/release"));
    let all = state.faults.all();
    let fault = all.iter().find(|f| Some(f.0.id.to_string().as_str()) == id);
    fault.ok_or("no such fault")?.release();
    Ok(json!({}))
}

/// `<host>/<name>:<tag>` with `layers`, `layer_size` and `platforms` (each joined by `,` or `+`), `format`, `seed`.
fn image(state: &State, incoming: &Incoming, reference: &str) -> Result<Value, String> {
    let query = |name: &str| incoming.query(name);
    let spec = [
        ("layers", query("layers")),
        ("layer-size", query("layer_size").map(|text| text.replace([',', ' '], "+"))),
        ("platforms", query("platforms").map(|text| text.replace([',', ' '], "+"))),
        ("format", query("format")),
        ("seed", query("seed")),
    ];
    let options =
        spec.iter().filter_map(|(name, value)| Some(format!(",{name}={}", value.as_ref()?))).collect::<String>();
    let (repository, tag, image) = parse_image(&format!("{reference}{options}"))?;
    let pushed = state.store().push(&repository, &tag, &image);
    let layers: Vec<String> = pushed.layers().into_iter().map(|l| l.digest).collect();
    Ok(json!({"digest": pushed.digest, "media_type": pushed.media_type, "layers": layers}))
}

/// Reads `HOST/NAME:TAG[,layers=N][,layer-size=BYTES[+BYTES...]][,platforms=A+B][,format=docker|oci][,seed=N]`.
pub fn parse_image(text: &str) -> Result<(String, String, Image), String> {
    let mut parts = text.split(',');
    let reference = parts.next().unwrap_or("");
    let (repository, tag) = reference.rsplit_once(':').ok_or_else(|| format!("{reference:?} is not HOST/NAME:TAG"))?;
    let host = repository.split_once('/').map(|(host, _)| host);
    if host.and_then(Registry::parse).is_none() {
        return Err(format!("{repository:?} has no host of Amazon ECR"));
    }
    let (mut layers, mut sizes, mut seed, mut oci) = (1, vec![64 << 10], 1, false);
    let mut platforms = vec!["linux/amd64".to_owned()];
    for part in parts {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let number = || value.parse::<usize>().map_err(|_| format!("{part:?} is no number"));
        match name {
            "layers" => layers = number()?,
            "layer-size" => {
                let all = value.split('+').map(|size| size.parse().map_err(|_| format!("{part:?} is no number")));
                sizes = all.collect::<Result<_, _>>()?;
            }
            "seed" => seed = u64::try_from(number()?).unwrap_or(0),
            "platforms" => platforms = value.split('+').map(str::to_owned).collect(),
            "format" if matches!(value, "oci" | "docker") => oci = value == "oci",
            _ => return Err(format!("{part:?} is not known")),
        }
    }
    let image = match &platforms[..] {
        [one] => Image::platform(one),
        _ => Image::index(&platforms),
    };
    // one size is that of every layer, several are the layers
    let sizes = if let [size] = sizes[..] { vec![size; layers] } else { sizes };
    let image = image.layer_sizes(sizes).seed(seed);
    let image = if oci { image.oci() } else { image.docker() };
    Ok((repository.to_owned(), tag.to_owned(), image))
}
