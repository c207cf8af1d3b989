//! A load as its loader sees it: the answers it can give.

use super::directory;
use super::file::{self, Unreadable};
use super::json::{self, Members, Syntax};
use super::stamp::Stamp;
use super::within::{Node, Within};
use crate::error::{Error, OneLine, Quoted, Status};
use crate::manifest::Manifest;
use std::any::Any;
use std::ffi::OsStr;
use std::fmt::{self, Display};
use std::path::Path;
use std::sync::Arc;

/// A load in progress, for the loader to answer. The last answer stands; without one the load has
/// failed.
pub struct Load {
    id: Arc<str>,
    /// None for the check of a text that is put.
    node: Option<Arc<Node>>,
    largest: u64,
    syntax: Syntax,
    cached: Option<Cached>,
    answer: Option<Result<Answer, Error>>,
    ttl_ms: Option<u64>,
}

/// The expired manifest that a load is to replace, and the file it came from.
pub(crate) struct Cached {
    pub(crate) manifest: Manifest,
    pub(crate) stamp: Option<Stamp>,
}

/// An answer that is a manifest, with the stamp of the file that it came from.
pub(crate) enum Answer {
    New {
        manifest: Manifest,
        members: Members,
        stamp: Option<Stamp>,
    },
    /// The expired manifest is still right.
    Unchanged {
        manifest: Manifest,
        stamp: Option<Stamp>,
    },
}

impl Load {
    pub(crate) fn new(
        node: Arc<Node>,
        largest: u64,
        syntax: Syntax,
        cached: Option<Cached>,
    ) -> Self {
        let id = node.id().clone();
        Load { id, node: Some(node), largest, syntax, cached, answer: None, ttl_ms: None }
    }

    /// For a text that is put: no load is in progress.
    pub(crate) fn of_put(id: &str, largest: u64, syntax: Syntax) -> Self {
        let (node, cached, answer, ttl_ms) = (None, None, None, None);
        Load { id: id.into(), node, largest, syntax, cached, answer, ttl_ms }
    }

    /// What stands when the load ends.
    pub(crate) fn take_answer(&mut self) -> Result<Answer, Error> {
        let silence = "the loader gave no answer; a load must be answered before it ends";
        self.answer.take().unwrap_or_else(|| Err(failed(&self.id, silence)))
    }

    /// Whether this is the load of that very id: a loader can swap the loads that it is given.
    pub(crate) fn is_of(&self, id: &Arc<str>) -> bool {
        Arc::ptr_eq(&self.id, id)
    }

    /// For calls whose outcome this load waits for.
    pub fn within(&self) -> Within<'_> {
        Within::load(self.node.as_ref())
    }

    /// The time to live that the loader gave this manifest.
    pub(crate) fn own_ttl_ms(&self) -> Option<u64> {
        self.ttl_ms
    }

    /// The plugin to load.
    pub fn plugin_id(&self) -> &str {
        &self.id
    }

    /// Answers with the manifest itself.
    ///
    /// # Errors
    /// [`Status::InvalidManifest`] if it is not a JSON object in UTF-8, in the cache's
    /// [`Syntax`], or is too large. The answer stands all the same.
    pub fn json(&mut self, text: impl AsRef<[u8]>) -> Result<(), Error> {
        self.text(text.as_ref(), &"the loader's text")
    }

    /// The same, with the name of the text for messages.
    pub(crate) fn text(&mut self, text: &[u8], source: &dyn Display) -> Result<(), Error> {
        let answer = self.check(text, source, None);
        self.set(answer)
    }

    /// Answers with the content of a file.
    ///
    /// # Errors
    /// [`Status::NotFound`] if it is missing, [`Status::LoadFailed`] if it cannot be read or is no
    /// regular file, [`Status::InvalidManifest`] as for [`Load::json`]. The answer stands all the
    /// same.
    pub fn file(&mut self, path: impl AsRef<Path>) -> Result<(), Error> {
        let answer = self.read(path.as_ref());
        self.set(answer)
    }

    /// Answers with the file `<root>/<plugin id>/manifest.json`. To look in several places, call it
    /// for one after the other until it does not say [`Status::NotFound`].
    ///
    /// # Errors
    /// As for [`Load::file`]; [`Status::InvalidArgument`] if the plugin id is neither one plain
    /// component of a path nor `@scope/name` of two.
    pub fn directory(&mut self, root: impl AsRef<Path>) -> Result<(), Error> {
        self.directory_file(root, "manifest.json")
    }

    /// Answers with the file `<root>/<plugin id>/<name>`.
    ///
    /// # Errors
    /// As for [`Load::directory`]; [`Status::InvalidArgument`] also if the name is not one plain
    /// component of a path.
    pub fn directory_file(
        &mut self,
        root: impl AsRef<Path>,
        name: impl AsRef<OsStr>,
    ) -> Result<(), Error> {
        match directory::path_below(root.as_ref(), &self.id, name.as_ref()) {
            Ok(path) => self.file(path),
            Err(what) => self.misused(&what),
        }
    }

    /// Answers that there is no such plugin.
    pub fn not_found(&mut self) {
        self.answer = Some(Err(self.error(Status::NotFound, "there is no such plugin")));
    }

    /// Answers that the load failed, with a code of the host's own and the reason.
    pub fn fail(&mut self, code: i32, reason: &str) {
        let reason = if reason.is_empty() { "no reason given" } else { reason };
        let reason = OneLine(reason);
        let what = match code {
            0 => format!("the loader failed: {reason}"),
            _ => format!("the loader failed with code {code}: {reason}"),
        };
        self.answer = Some(Err(failed(&self.id, what).with_code(code)));
    }

    /// Gives the manifest that this load brings a time to live of its own, in milliseconds;
    /// `u64::MAX` is for ever. With 0 nothing of this load is cached, not even a failure.
    pub fn ttl_ms(&mut self, ttl_ms: u64) {
        self.ttl_ms = Some(ttl_ms);
    }

    /// The expired manifest that this load is to replace, if there is one.
    pub fn cached(&self) -> Option<&Manifest> {
        self.cached.as_ref().map(|cached| &cached.manifest)
    }

    /// Answers that the expired manifest is still right: it is kept, with its revision, for another
    /// time to live.
    ///
    /// # Errors
    /// [`Status::InvalidManifest`] if it is larger than is allowed now, [`Status::InvalidArgument`]
    /// if there is none; then the load fails.
    pub fn unchanged(&mut self) -> Result<(), Error> {
        match &self.cached {
            Some(cached) if cached.manifest.len() as u64 > self.largest => {
                let too_large = self.too_large(&"the manifest that the loader says is unchanged");
                self.set(Err(too_large))
            }
            Some(cached) => {
                let unchanged = Answer::Unchanged {
                    manifest: cached.manifest.clone(),
                    stamp: cached.stamp.clone(),
                };
                self.set(Ok(unchanged))
            }
            None => self.misused(
                "the loader says it is unchanged, but nothing is cached; bring the manifest",
            ),
        }
    }

    /// The manifest that this load is answered with so far, if it is one: to check or to decode
    /// what [`Load::directory`] read, and to refuse it with [`Load::fail`].
    pub fn manifest(&self) -> Option<&Manifest> {
        match self.answer.as_ref()? {
            Ok(Answer::New { manifest, .. } | Answer::Unchanged { manifest, .. }) => Some(manifest),
            Err(_) => None,
        }
    }

    /// Attaches a value, usually what was decoded, to the manifest that this load is answered with.
    /// If it has one already, as a manifest that was found unchanged can, that one stays.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`] if the load is not answered with a manifest, or a value of
    /// another type is attached to it. The value is dropped.
    pub fn value<T: Any + Send + Sync>(&mut self, value: T) -> Result<(), Error> {
        match self.manifest() {
            Some(manifest) if manifest.attach(value).is_ok() => Ok(()),
            Some(_) => Err(self.error(Status::InvalidArgument, HAS_ANOTHER_VALUE)),
            None => Err(self.error(Status::InvalidArgument, HAS_NO_MANIFEST)),
        }
    }

    /// Answers with a mistake in the answering call itself.
    pub(crate) fn misused(&mut self, what: &str) -> Result<(), Error> {
        let misuse = Err(self.error(Status::InvalidArgument, what));
        self.set(misuse)
    }

    fn set(&mut self, answer: Result<Answer, Error>) -> Result<(), Error> {
        let said = answer.as_ref().map(drop).map_err(Error::clone);
        self.answer = Some(answer);
        said
    }

    fn read(&self, path: &Path) -> Result<Answer, Error> {
        let name = Named(path);
        if let Some(Cached { manifest, stamp: Some(stamp) }) = &self.cached {
            if manifest.len() as u64 <= self.largest && stamp.still_holds(path) {
                return Ok(Answer::Unchanged {
                    manifest: manifest.clone(),
                    stamp: Some(stamp.clone()),
                });
            }
        }
        match file::read(path, self.largest) {
            Ok((text, stamp)) => match &self.cached {
                Some(Cached { manifest, stamp: Some(_) }) if manifest.as_bytes() == text => {
                    Ok(Answer::Unchanged { manifest: manifest.clone(), stamp: Some(stamp) })
                }
                _ => self.check(&text, &name, Some(stamp)),
            },
            Err(Unreadable::KeepsChanging) => Err(failed(
                &self.id,
                format!("{name} changed each time it was read; replace it by renaming"),
            )),
            Err(Unreadable::Leased) => {
                let what = format!(
                    "another process holds a lease on {name}; mount /proc, so that the cache can \
                    wait for it"
                );
                Err(failed(&self.id, what).with_code(libc::EAGAIN))
            }
            Err(Unreadable::TooLarge) => Err(self.too_large(&name)),
            Err(Unreadable::Missing) => {
                Err(self.error(Status::NotFound, format!("there is no file {name}")))
            }
            Err(Unreadable::NotAFile(kind)) => {
                Err(failed(&self.id, format!("{name} is {kind}, not a regular file")))
            }
            Err(Unreadable::Io(error)) => {
                let reason = error.to_string();
                // Its number has a field of its own.
                let reason = reason.split(" (os error").next().unwrap_or_default();
                let failure = failed(&self.id, format!("cannot read {name}: {reason}"));
                Err(failure.with_code(error.raw_os_error().unwrap_or(0)))
            }
        }
    }

    /// `source` is where the text came from, as a message names it.
    fn check(
        &self,
        text: &[u8],
        source: &dyn Display,
        stamp: Option<Stamp>,
    ) -> Result<Answer, Error> {
        if text.len() as u64 > self.largest {
            return Err(self.too_large(source));
        }
        let flawed = |flaw: json::Flaw| {
            let json::Flaw { what, line, column } = flaw;
            let what = format!("{source}, line {line}, column {column}: {what}");
            self.error(Status::InvalidManifest, what).at(line, column)
        };
        let (text, members) = json::check_object(text, self.syntax).map_err(flawed)?;
        Ok(Answer::New { manifest: Manifest::new(&self.id, text), members, stamp })
    }

    fn too_large(&self, source: &dyn Display) -> Error {
        let what = format!(
            "{source} is longer than the {} bytes that MC_OPT_MAX_MANIFEST_BYTES allows",
            self.largest
        );
        self.error(Status::InvalidManifest, what)
    }

    fn error(&self, status: Status, what: impl Display) -> Error {
        Error::new(status, format!("plugin {}: {what}", Quoted(&self.id)))
    }
}

const HAS_ANOTHER_VALUE: &str = "a value of another type is attached to the manifest already";
const HAS_NO_MANIFEST: &str = "a value is for a manifest; answer with that first";

/// A file in a message.
struct Named<'a>(&'a Path);

impl Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Quoted(&self.0.to_string_lossy()).fmt(f)
    }
}

/// The load of `id` failed, and why.
pub(crate) fn failed(id: &str, what: impl Display) -> Error {
    Error::new(Status::LoadFailed, format!("plugin {}: {what}", Quoted(id)))
}

#[cfg(test)]
mod tests;
