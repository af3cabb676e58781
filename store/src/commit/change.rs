//! Changes of an image's configuration, in the words of a Dockerfile.

use std::str::FromStr;

use serde_json::{Map, Value, json};

use crate::error::CommitError;

/// One change, as `CMD ["sh", "-c", "date"]`, `ENV NAME=VALUE` or `USER joe`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigChange {
    field: &'static str,
    change: Change,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    /// The field is this list.
    List(Vec<String>),
    /// The field is this text.
    Text(String),
    /// The list has this assignment, in place of one of the same name.
    Variable(String, String),
    /// The map has this entry.
    Entry(String, String),
    /// The set has these members.
    Members(Vec<String>),
}

impl FromStr for ConfigChange {
    type Err = CommitError;

    fn from_str(text: &str) -> Result<Self, CommitError> {
        let refused = || CommitError::Change(text.to_owned());
        let (word, rest) = text
            .trim()
            .split_once(char::is_whitespace)
            .ok_or_else(refused)?;
        let rest = rest.trim();
        let pair = || {
            let (name, value) = rest.split_once('=')?;
            let value = value
                .strip_prefix('"')
                .and_then(|v| v.strip_suffix('"'))
                .unwrap_or(value);
            (!name.is_empty()).then(|| (name.to_owned(), value.to_owned()))
        };
        let (field, change) = match word.to_ascii_uppercase().as_str() {
            "CMD" => ("Cmd", Change::List(command(rest).ok_or_else(refused)?)),
            "ENTRYPOINT" => (
                "Entrypoint",
                Change::List(command(rest).ok_or_else(refused)?),
            ),
            "USER" => ("User", Change::Text(rest.to_owned())),
            "WORKDIR" => ("WorkingDir", Change::Text(rest.to_owned())),
            "STOPSIGNAL" => ("StopSignal", Change::Text(rest.to_owned())),
            "ENV" => {
                let (name, value) = pair().ok_or_else(refused)?;
                ("Env", Change::Variable(name, value))
            }
            "LABEL" => {
                let (name, value) = pair().ok_or_else(refused)?;
                ("Labels", Change::Entry(name, value))
            }
            "EXPOSE" => {
                let ports = rest.split_whitespace();
                let port = |port: &str| {
                    if port.contains('/') {
                        port.to_owned()
                    } else {
                        format!("{port}/tcp")
                    }
                };
                ("ExposedPorts", Change::Members(ports.map(port).collect()))
            }
            "VOLUME" => {
                let paths = if rest.starts_with('[') {
                    serde_json::from_str(rest).map_err(|_| refused())?
                } else {
                    rest.split_whitespace().map(str::to_owned).collect()
                };
                ("Volumes", Change::Members(paths))
            }
            _ => return Err(refused()),
        };
        Ok(Self { field, change })
    }
}

/// A command as a list of JSON, or as a line for the shell.
fn command(text: &str) -> Option<Vec<String>> {
    if text.starts_with('[') {
        return serde_json::from_str(text).ok();
    }
    Some(["/bin/sh", "-c", text].map(str::to_owned).to_vec())
}

impl ConfigChange {
    /// Makes the change in the `config` of a configuration.
    pub(super) fn apply(&self, config: &mut Map<String, Value>) {
        // A field of the wrong type is replaced.
        let field = config.entry(self.field).or_insert(Value::Null);
        match &self.change {
            Change::List(list) => *field = json!(list),
            Change::Text(text) => *field = json!(text),
            Change::Variable(name, value) => {
                let mut list = match field.take() {
                    Value::Array(list) => list,
                    _ => Vec::new(),
                };
                let start = format!("{name}=");
                let new = json!(format!("{start}{value}"));
                let same = list
                    .iter_mut()
                    .find(|one| one.as_str().is_some_and(|one| one.starts_with(&start)));
                match same {
                    Some(same) => *same = new,
                    None => list.push(new),
                }
                *field = Value::Array(list);
            }
            Change::Entry(name, value) => {
                let mut map = object(field.take());
                map.insert(name.clone(), json!(value));
                *field = Value::Object(map);
            }
            Change::Members(members) => {
                let mut map = object(field.take());
                for member in members {
                    map.insert(member.clone(), json!({}));
                }
                *field = Value::Object(map);
            }
        }
    }
}

/// The members of an object; none of anything else.
pub(super) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_made_as_a_dockerfile_makes_them() {
        let mut config = object(json!({"Env": ["PATH=/bin", "A=1"], "Cmd": ["old"], "Other": 1}));
        for change in [
            r#"CMD ["a", "b c"]"#,
            "entrypoint run it",
            "ENV A=2",
            "ENV B=\"x=y\"",
            "LABEL a.b=c d",
            "USER joe:staff",
            "WORKDIR /srv",
            "EXPOSE 80 53/udp",
            "VOLUME /data",
            "STOPSIGNAL SIGINT",
        ] {
            change.parse::<ConfigChange>().unwrap().apply(&mut config);
        }
        assert_eq!(
            Value::Object(config),
            json!({
                "Env": ["PATH=/bin", "A=2", "B=x=y"],
                "Cmd": ["a", "b c"],
                "Entrypoint": ["/bin/sh", "-c", "run it"],
                "Labels": {"a.b": "c d"},
                "User": "joe:staff",
                "WorkingDir": "/srv",
                "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
                "Volumes": {"/data": {}},
                "StopSignal": "SIGINT",
                "Other": 1,
            })
        );
    }

    #[test]
    fn what_is_no_change_is_refused() {
        for text in [
            "", "CMD", "RUN date", "ENV A", "ENV =x", "CMD [1]", "VOLUME [", "LABEL x",
        ] {
            assert!(text.parse::<ConfigChange>().is_err(), "{text}");
        }
    }
}
