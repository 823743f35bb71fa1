//! Texts that are almost an id: what their author meant. None of them is looked up as a Name tag.

use super::region::Region;

/// Recognizes an id and a region that are joined by something else than `--`, in either order.
pub(super) fn id_beside_region(text: &str) -> Option<String> {
    const JOINS: [char; 7] = ['.', ':', '/', '-', '_', ',', ' '];
    let id_of = |text: &str| {
        let digits = text.strip_prefix("mi-").or_else(|| text.strip_prefix("i-"))?;
        is_hexadecimal(digits).then(|| text.to_owned())
    };
    let joins = text.char_indices().filter(|(_, c)| JOINS.contains(c));
    let mut pairs = joins.map(|(at, c)| (&text[..at], &text[at + c.len_utf8()..]));
    pairs.find_map(|(left, right)| {
        let id_first = id_of(left).zip(Region::parse(right));
        let (id, region) = id_first.or_else(|| id_of(right).zip(Region::parse(left)))?;
        Some(format!("{id}--{region}"))
    })
}

/// Returns `ecs:CLUSTER/TASK` or `ecs:CLUSTER/SERVICE` of the ARN of a container, a task or a service.
fn of_ecs_arn(text: &str) -> Option<String> {
    let resource = text.strip_prefix("arn:")?.splitn(5, ':').nth(4)?;
    let service = text.split(':').nth(2)?;
    let mut parts = resource.split('/');
    let kind = parts.next()?;
    let (cluster, name) = (parts.next()?, parts.next()?);
    let is_known = service == "ecs" && ["container", "task", "service"].contains(&kind);
    is_known.then(|| format!("ecs:{cluster}/{name}"))
}

/// Returns what may be an id in the wrong case, or in an ARN; the caller checks its form.
pub(super) fn near_id(text: &str) -> Option<String> {
    if let Some(name) = of_ecs_arn(text) {
        return Some(name);
    }
    let from_arn = text.strip_prefix("arn:").and_then(|rest| rest.rsplit(['/', ':']).next());
    let candidate = from_arn.map_or_else(|| lower_prefix(text), str::to_owned);
    let prefixes = ["i-", "mi-", "ecs:"];
    let is_other = candidate != text && prefixes.iter().any(|prefix| candidate.starts_with(prefix));
    let is_plain = prefixes[..2].iter().all(|prefix| !candidate.starts_with(prefix))
        || candidate.bytes().skip(3).all(|b| b.is_ascii_hexdigit());
    (is_other && is_plain).then_some(candidate)
}

fn lower_prefix(name: &str) -> String {
    let end = name.find(['-', ':']).unwrap_or(name.len());
    let (prefix, rest) = name.split_at(end);
    match prefix.to_ascii_lowercase().as_str() {
        "ecs" => format!("ecs{rest}"),
        _ => name.to_ascii_lowercase(),
    }
}

/// Returns true for one hexadecimal digit or more.
pub(super) fn is_hexadecimal(digits: &str) -> bool {
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit())
}
