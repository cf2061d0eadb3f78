//! Variables in the values of a compose file: `$NAME`, `${NAME}` and its forms with `:-`, `-`, `:?`, `?`, `:+`, `+`, and `$$`.
//!
//! As in the Compose specification, section "Interpolation"; what stands behind a sign may hold variables itself.

/// A text with its variables put in, and the names that stand for nothing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) text: String,
    pub(super) unset: Vec<String>,
}

/// A default in a default in a default …: deeper than anyone writes.
const DEEPEST: usize = 16;

pub(super) fn interpolate<'a>(text: &str, value: &dyn Fn(&str) -> Option<&'a str>) -> Result<Text, String> {
    let mut out = Text::default();
    put(text, value, &mut out, DEEPEST)?;
    Ok(out)
}

fn put<'a>(text: &str, value: &dyn Fn(&str) -> Option<&'a str>, out: &mut Text, depth: usize) -> Result<(), String> {
    if depth == 0 {
        return Err("variables are nested too deep".to_owned());
    }
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.text.push_str(before);
        rest = if let Some(after) = after.strip_prefix('$') {
            out.text.push('$');
            after
        } else if let Some(after) = after.strip_prefix('{') {
            let end = end(after).ok_or("a ${ has no }")?;
            braced(&after[..end], value, out, depth)?;
            &after[end + 1..]
        } else {
            let end = name_end(after);
            if end == 0 {
                return Err("a $ stands alone; write $$ for one that is meant".to_owned());
            }
            set(&after[..end], value, out);
            &after[end..]
        };
    }
    out.text.push_str(rest);
    Ok(())
}

fn braced<'a>(
    inside: &str,
    value: &dyn Fn(&str) -> Option<&'a str>,
    out: &mut Text,
    depth: usize,
) -> Result<(), String> {
    let (name, sign) = inside.split_at(name_end(inside));
    if name.is_empty() {
        return Err(format!("${{{inside}}} names no variable"));
    }
    let (counts_empty, sign) = sign.strip_prefix(':').map_or((true, sign), |sign| (false, sign));
    let found = value(name).filter(|value| counts_empty || !value.is_empty());
    match (sign.chars().next(), found) {
        (None, _) if counts_empty => set(name, value, out),
        (Some('-' | '?'), Some(found)) => out.text.push_str(found),
        (Some('-'), None) | (Some('+'), Some(_)) => put(&sign[1..], value, out, depth - 1)?,
        (Some('+'), None) => {}
        (Some('?'), None) => {
            let words = if sign.len() > 1 { &sign[1..] } else { "it is required" };
            return Err(format!("{name} is not set: {words}"));
        }
        _ => return Err(format!("${{{inside}}} is not a form of variable that compose knows")),
    }
    Ok(())
}

fn set<'a>(name: &str, value: &dyn Fn(&str) -> Option<&'a str>, out: &mut Text) {
    match value(name) {
        Some(value) => out.text.push_str(value),
        None => out.unset.push(name.to_owned()),
    }
}

fn name_end(text: &str) -> usize {
    let is_inside =
        |(place, c): (usize, char)| c == '_' || c.is_ascii_alphabetic() || (place > 0 && c.is_ascii_digit());
    text.char_indices().take_while(|&at| is_inside(at)).count()
}

/// Where the brace closes that was opened before `text`.
fn end(text: &str) -> Option<usize> {
    let mut open = 1;
    for (place, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => open += 1,
            b'}' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return Some(place);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(name: &str) -> Option<&'static str> {
        [("SET", "v1"), ("EMPTY", ""), ("A_1", "x")]
            .into_iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    #[track_caller]
    fn check(text: &str, want: Result<&str, &str>) {
        let got = interpolate(text, &value).map(|got| got.text);
        assert_eq!(got, want.map(str::to_owned).map_err(str::to_owned), "{text}");
    }

    #[test]
    fn every_form_of_the_specification_is_put_in() {
        check("a:$SET-$A_1.b", Ok("a:v1-x.b"));
        check("a:${SET}", Ok("a:v1"));
        check("a:${NOT:-v0}/${EMPTY:-e}/${EMPTY-e}/${NOT-n}", Ok("a:v0/e//n"));
        check("${SET:+on}${NOT:+on}${EMPTY:+on}${EMPTY+e}", Ok("one"));
        check("${NOT:-${EMPTY:-${SET}}}", Ok("v1"));
        check("$$SET costs $$1", Ok("$SET costs $1"));
        check("${SET:?}${SET?x}${EMPTY?x}", Ok("v1v1"));
        check("x${NOT}y", Ok("xy"));
        check("é$SET", Ok("év1"));
    }

    #[test]
    fn what_is_required_or_broken_is_said() {
        check("${NOT:?give a tag}", Err("NOT is not set: give a tag"));
        check("${EMPTY:?}", Err("EMPTY is not set: it is required"));
        check("${SET", Err("a ${ has no }"));
        check("a:$", Err("a $ stands alone; write $$ for one that is meant"));
        check("${}", Err("${} names no variable"));
        check("${SET:}", Err("${SET:} is not a form of variable that compose knows"));
        check("${SET/a}", Err("${SET/a} is not a form of variable that compose knows"));
        check(&("${A:-".repeat(99) + &"}".repeat(99)), Err("variables are nested too deep"));
    }

    #[test]
    fn what_is_not_set_is_named() {
        assert_eq!(interpolate("$A${B}${C:-}", &value).unwrap().unset, ["A", "B"]);
    }
}
