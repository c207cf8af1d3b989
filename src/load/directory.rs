//! The path of a plugin's file in a directory of plugins.

use crate::error::Quoted;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The path `<root>/<id>/<name>`, or what is wrong with the id or the name. The path is always
/// below the root.
pub(super) fn path_below(root: &Path, id: &str, name: &OsStr) -> Result<PathBuf, String> {
    if !is_directory_name(id) {
        return Err(
            "this id is neither one plain component of a path nor @scope/name with two of them, so \
            no directory was searched; use the name of the plugin's directory"
                .into(),
        );
    }
    if !is_plain(name.as_encoded_bytes()) {
        return Err(format!(
            "the file name {} is not one plain component of a path, so no directory was searched; \
            use a name such as manifest.json",
            Quoted(&name.to_string_lossy())
        ));
    }
    let mut path = PathBuf::with_capacity(root.as_os_str().len() + id.len() + name.len() + 2);
    path.extend([root.as_os_str(), id.as_ref(), name]);
    Ok(path)
}

/// Whether this is one plain component of a path, or `@scope/name` with two of them, as in npm.
fn is_directory_name(id: &str) -> bool {
    let Some(scoped) = id.strip_prefix('@') else { return is_plain(id.as_bytes()) };
    let (scope, name) = scoped.split_once('/').unwrap_or((scoped, "name"));
    is_plain(scope.as_bytes()) && is_plain(name.as_bytes())
}

/// Whether this is the name of a file or directory that is directly inside a directory.
fn is_plain(component: &[u8]) -> bool {
    !matches!(component, b"" | b"." | b"..")
        && !component.iter().any(|byte| matches!(byte, b'/' | b'\\' | b'\0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn below(id: &str, name: &str) -> Option<PathBuf> {
        path_below(Path::new("/root"), id, name.as_ref()).ok()
    }

    #[test]
    fn an_id_is_one_plain_component() {
        assert_eq!(below("weather", "a.json").unwrap(), Path::new("/root/weather/a.json"));
        for id in ["..a", "wärme ...", "a@b", "@a"] {
            assert!(below(id, "a.json").is_some(), "{id}");
        }
        for id in ["", ".", "..", "../x", "a/b", "a/", "/a", "a\\b", "a\0"] {
            assert!(below(id, "a.json").is_none(), "{id:?}");
        }
    }

    #[test]
    fn an_id_may_have_a_scope() {
        assert_eq!(below("@a/b", "c.json").unwrap(), Path::new("/root/@a/b/c.json"));
        assert!(below("@a-b.c/d.e", "c.json").is_some());
        for id in [
            "@", "@.", "@..", "@/", "@/x", "@a/", "@a/b/c", "@a//b", "@../x", "@./x", "@a/..",
            "@a/.", "@a/../b", "@a\\b", "@a/b\\c", "@a/b\0", "a/@b", "a@b/c", "/@a/b", "@/a/b",
        ] {
            assert!(below(id, "c.json").is_none(), "{id:?}");
        }
    }

    #[test]
    fn a_file_name_is_one_plain_component() {
        assert!(below("a", "plugin.json").is_some() && below("a", "@b").is_some());
        for name in ["", ".", "..", "a/b", "/a", "a/", "a\\b", "a\0", "@a/b"] {
            assert!(below("a", name).is_none(), "{name:?}");
        }
    }
}
