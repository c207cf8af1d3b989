use super::*;

fn load(id: &str) -> Load {
    Load::of_put(id, 1000, Syntax::Json)
}

fn message(mut load: Load) -> String {
    load.take_answer().err().expect("this load failed").to_string()
}

#[test]
fn the_last_answer_stands() {
    let mut load = load("a");
    load.json("{\"n\":1}").unwrap();
    load.fail(3, "no");
    load.json("{\"n\":2}").unwrap();
    match load.take_answer() {
        Ok(Answer::New { manifest, .. }) => assert_eq!(manifest.as_str(), "{\"n\":2}"),
        _ => panic!("this load brought a manifest"),
    }
}

#[test]
fn silence_is_a_failure() {
    assert!(message(load("a")).contains("plugin \"a\": the loader gave no answer"));
}

#[test]
fn a_failure_has_the_hosts_code_and_reason_on_one_line() {
    let mut load = load("a");
    load.fail(42, "disk\non fire");
    let error = load.take_answer().err().unwrap();
    assert_eq!((error.status(), error.code()), (Status::LoadFailed, 42));
    assert_eq!(error.message(), r#"plugin "a": the loader failed with code 42: disk\non fire"#);
}

#[test]
fn a_flawed_text_is_told_with_its_place() {
    let mut load = load("a");
    let error = load.json("{\"a\":1,\n}").unwrap_err();
    assert_eq!((error.status(), error.line(), error.column()), (Status::InvalidManifest, 2, 1));
    assert!(
        error.message().starts_with("plugin \"a\": the loader's text, line 2, column 1: "),
        "{error}"
    );
}

#[test]
fn a_text_may_be_as_long_as_the_limit_and_no_longer() {
    let text = |len: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(len - 8));
    assert!(load("a").json(text(1000)).is_ok());
    assert_eq!(load("a").json(text(1001)).unwrap_err().status(), Status::InvalidManifest);
}

#[test]
fn ids_that_are_no_plain_path_component_touch_no_file() {
    for id in ["", "..", "../x", "a/b", "@a/..", "@a/b/c"] {
        // Were it touched, it would be "not a regular file" or missing.
        let error = load(id).directory("/dev/null").unwrap_err();
        assert_eq!(error.status(), Status::InvalidArgument, "{error}");
    }
    let error = load("a").directory_file("/dev/null", "../manifest.json").unwrap_err();
    assert_eq!(error.status(), Status::InvalidArgument, "{error}");
    assert_eq!(load("..a").directory("/dev/null").unwrap_err().status(), Status::NotFound);
}

#[test]
fn a_missing_file_is_named_and_not_found() {
    let mut load = load("weather");
    assert_eq!(load.directory("/nowhere").unwrap_err().status(), Status::NotFound);
    assert_eq!(
        message(load),
        r#"plugin "weather": there is no file "/nowhere/weather/manifest.json""#
    );
}

#[test]
fn what_is_no_file_failed_to_load() {
    assert_eq!(load("a").file("/").unwrap_err().status(), Status::LoadFailed);
    assert_eq!(load("a").file("/dev/null").unwrap_err().status(), Status::LoadFailed);
}
