use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use super::{Extension, ExtensionError};

fn parse(value: &str) -> Result<Vec<Extension<'_>>, ExtensionError> {
    Extension::parse_list([value.as_bytes()])
}

#[test]
fn rfc_6455_section_9_1_lists_that_are_read() {
    for (value, written) in [
        ("foo", "foo"),
        ("foo, bar; baz=2", "foo, bar; baz=2"),
        ("bar; baz=2; baz", "bar; baz=2; baz"),
        (" \t foo\t;\ta = b ,, ,bar ", "foo; a=b, bar"),
        ("a; b=\"c\"", "a; b=c"),
        ("a; b=\"\\c\\d\"", "a; b=cd"),
        ("a;b=1;c,a", "a; b=1; c, a"),
        ("!#$%&'*+-.^_`|~09azAZ", "!#$%&'*+-.^_`|~09azAZ"),
        ("Foo", "Foo"),
    ] {
        let list = parse(value).unwrap();
        let list: Vec<_> = list.iter().map(ToString::to_string).collect();
        assert_eq!(list.join(", "), written, "{value:?}");
        // And what is written is read as the same.
        assert_eq!(
            parse(written).unwrap(),
            parse(value).unwrap(),
            "{value:?} again"
        );
    }
}

#[test]
fn rfc_6455_section_9_1_lists_that_are_refused() {
    for value in [
        "",
        " ",
        ",",
        ", ,",
        "a b",
        "a;",
        "a; ",
        "a;;b",
        ";b",
        "a; =b",
        "a; b=",
        "a; b=, c",
        "a; b=\"\"",
        "a; b=\"c",
        "a; b=\"c d\"",
        "a; b=\"c,d\"",
        "a; b=\"\\\"",
        "a; b=\"\\",
        "a; b=c d",
        "a; b==c",
        "\"a\"",
        "a=b",
        "a; b=\"c\"d",
        "a; \"b\"",
        "a; b=\"c\"\"d\"",
        "é",
        "a; b=é",
        "a/b",
        "a\u{b}",
        "a\r",
        "a;\nb",
    ] {
        assert_eq!(parse(value), Err(ExtensionError::Malformed), "{value:?}");
    }
    let invalid_utf8 = Extension::parse_list([&b"a; b=\xff"[..]]);
    assert_eq!(invalid_utf8, Err(ExtensionError::Malformed));
}

#[test]
fn rfc_6455_section_9_1_several_headers_are_one_list() {
    let lines = [&b"a, b"[..], b"", b"c; d"];
    let list = Extension::parse_list(lines).unwrap();
    let names: Vec<_> = list.iter().map(Extension::name).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(Extension::parse_list([]), Ok(Vec::new()));
    let empty = Extension::parse_list([&b""[..], b","]);
    assert_eq!(empty, Err(ExtensionError::Malformed));
}

#[test]
fn elements_parameters_and_empty_elements_are_bounded_together() {
    // Each costs one, and a list of 64 is fine.
    for (element, most) in [("a", 64), ("", 64), ("a; b", 32), ("a; b; c=1; d", 16)] {
        let list = |count: usize| format!("a,{}", [element].repeat(count).join(","));
        let fits = list(most - 1);
        assert!(parse(&fits).is_ok(), "{element:?}");
        assert_eq!(
            parse(&list(most)),
            Err(ExtensionError::TooLong),
            "{element:?}"
        );
    }
}

#[test]
fn only_tokens_are_written() {
    for text in ["", "a b", "a,b", "a;b", "a=b", "\"a\"", "é", "a\r\nb"] {
        assert_eq!(Extension::new(text), Err(ExtensionError::NotAToken));
        let extension = Extension::new("a").unwrap();
        let named = extension.clone().parameter(text, None::<&str>);
        assert_eq!(named, Err(ExtensionError::NotAToken));
        let valued = extension.parameter("b", Some(text));
        assert_eq!(valued, Err(ExtensionError::NotAToken));
    }
    let written = Extension::new("a").unwrap().parameter("b", None::<&str>);
    let written = written.unwrap().parameter("c", Some("1")).unwrap();
    assert_eq!(written.to_string(), "a; b; c=1");
    assert_eq!(parse(&written.to_string()).unwrap()[0], written);
}
