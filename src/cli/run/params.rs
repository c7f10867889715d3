//! Parameters as people type them.

use std::ffi::OsString;

use serde_json::value::{RawValue, to_raw_value};

/// The JSON of a parameter: what was typed, or the JSON string of it if that is not JSON, so that
/// `inf` need not be quoted twice.
pub(super) fn to_json(param: &str) -> serde_json::Result<Box<RawValue>> {
    let typed: serde_json::Result<&RawValue> = serde_json::from_str(param);
    typed.map(ToOwned::to_owned).or_else(|_| to_raw_value(param))
}

/// Turns `-inf`, `-nan` and `-nan:0x…` among the arguments of `run` into JSON strings: clap takes
/// negative numbers for parameters, but these for flags.
pub(crate) fn quote_negative_specials(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<_> = arguments.collect();
    if arguments.get(1).is_some_and(|subcommand| subcommand == "run") {
        for argument in arguments.iter_mut().skip(2).take_while(|argument| **argument != "--") {
            let special = argument.to_str().filter(|text| is_negative_special(text));
            if let Some(special) = special {
                *argument = format!("\"{special}\"").into();
            }
        }
    }
    arguments
}

fn is_negative_special(text: &str) -> bool {
    text == "-inf" || text == "-nan" || text.starts_with("-nan:0x")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(arguments: &str) -> String {
        let arguments = quote_negative_specials(arguments.split(' ').map(OsString::from));
        arguments.join(" ".as_ref()).into_string().unwrap()
    }

    #[test]
    fn what_is_not_json_is_a_string() {
        for (param, json) in [
            ("1", "1"),
            ("-0.5e3", "-0.5e3"),
            ("18446744073709551615", "18446744073709551615"),
            ("null", "null"),
            ("\"nan\"", "\"nan\""),
            ("{\"I32\": 1}", "{\"I32\": 1}"),
            ("inf", "\"inf\""),
            ("nan:0x1", "\"nan:0x1\""),
            ("0x00", "\"0x00\""),
            ("a\"b", "\"a\\\"b\""),
            ("", "\"\""),
        ] {
            assert_eq!(to_json(param).unwrap().get(), json);
        }
    }

    #[test]
    fn only_parameters_of_run_are_quoted() {
        assert_eq!(quoted("x run f g -inf -1"), "x run f g \"-inf\" -1");
        assert_eq!(
            quoted("x run f g -nan -nan:0x1 --fuel 1"),
            "x run f g \"-nan\" \"-nan:0x1\" --fuel 1"
        );
        assert_eq!(quoted("x run f -- -inf"), "x run f -- -inf");
        assert_eq!(quoted("x inspect -inf"), "x inspect -inf");
    }
}
