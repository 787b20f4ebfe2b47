//! Dates and durations as Kafka's tools take and print them.

use std::time::{SystemTime, UNIX_EPOCH};

use super::Failure;

/// Milliseconds since the epoch.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// `YYYY-MM-DDThh:mm:ss.sss`, with `Z`, `+hh`, `+hhmm` or `+hh:mm` behind it or in UTC, as milliseconds since the epoch.
pub fn parse_datetime(text: &str) -> Result<i64, Failure> {
    let wrong = || Failure::failed(format!("java.text.ParseException: Unparseable date: \"{text}\""));
    let (date, time) = text.split_once('T').ok_or_else(|| {
        Failure::failed(
            "java.text.ParseException: Error parsing timestamp. It does not contain a 'T' according to ISO8601 format",
        )
    })?;
    let (time, zone) = match time.find(['Z', '+', '-']) {
        Some(at) => time.split_at(at),
        None => (time, "Z"),
    };
    let numbers = |text: &str, by: char| -> Option<Vec<i64>> { text.split(by).map(|part| part.parse().ok()).collect() };
    let parsed = || -> Option<i64> {
        let (clock, fraction) = time.split_once('.')?;
        let (date, clock) = (numbers(date, '-')?, numbers(clock, ':')?);
        let [year, month, day] = date[..] else { return None };
        let [hour, minute, second] = clock[..] else { return None };
        let in_range = (1..=12).contains(&month)
            && (1..=days_in_month(year, month)).contains(&day)
            && (0..24).contains(&hour)
            && (0..60).contains(&minute)
            && (0..60).contains(&second);
        let millis: i64 = fraction.parse().ok().filter(|millis| (0..1000).contains(millis))?;
        let seconds = days_since_epoch(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
        in_range.then_some((seconds - zone_seconds(zone)?) * 1000 + millis)
    };
    parsed().ok_or_else(wrong)
}

fn zone_seconds(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let digits: String = zone.get(1..)?.chars().filter(|c| *c != ':').collect();
    let (hours, minutes) = match digits.len() {
        2 => (digits.parse::<i64>().ok()?, 0),
        4 => (digits.get(..2)?.parse().ok()?, digits.get(2..)?.parse().ok()?),
        _ => return None,
    };
    Some(sign * (hours * 3600 + minutes * 60))
}

/// `PnDTnHnMn.nS`, as milliseconds.
pub fn parse_duration(text: &str) -> Result<i64, Failure> {
    let wrong = || Failure::failed("Text cannot be parsed to a Duration");
    let upper = text.to_ascii_uppercase();
    let (sign, rest) = match upper.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, upper.strip_prefix('+').unwrap_or(&upper)),
    };
    let rest = rest.strip_prefix('P').ok_or_else(wrong)?;
    let (days, clock) = rest.split_once('T').map_or((rest, None), |(days, clock)| (days, Some(clock)));
    let mut seconds = 0.0;
    let mut has_part = false;
    for (part, units) in
        [(days, &[('D', 86_400.0)][..]), (clock.unwrap_or(""), &[('H', 3600.0), ('M', 60.0), ('S', 1.0)])]
    {
        let mut part = part;
        for (unit, length) in units {
            if let Some((number, behind)) = part.split_once(*unit) {
                let number: f64 = number.parse().map_err(|_| wrong())?;
                seconds += number * length;
                part = behind;
                has_part = true;
            }
        }
        if !part.is_empty() {
            return Err(wrong());
        }
    }
    if !has_part || clock == Some("") {
        return Err(wrong());
    }
    Ok((sign * seconds * 1000.0) as i64)
}

/// `2026-01-02 03:04:05:678` in UTC, the form that the performance tools print.
pub fn show_datetime(millis: i64) -> String {
    let (days, of_day) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
    let (year, month, day) = date_of(days);
    let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
    let (second, milli) = (of_day / 1000 % 60, of_day % 1000);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}:{milli:03}")
}

const fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a Gregorian date. Years begin in March here, so that the leap day is the last one.
const fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let (cycle, in_cycle) = (year.div_euclid(400), year.rem_euclid(400));
    cycle * 146_097 + in_cycle * 365 + in_cycle / 4 - in_cycle / 100 + of_year - 719_468
}

/// The inverse of [`days_since_epoch`].
const fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (cycle, in_cycle) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (in_cycle - in_cycle / 1460 + in_cycle / 36_524 - in_cycle / 146_096) / 365;
    let of_year = in_cycle - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (cycle * 400 + year + if month <= 2 { 1 } else { 0 }, month, day)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn datetimes_are_utc_unless_they_say_otherwise() {
        assert_eq!(parse_datetime("1970-01-01T00:00:00.000").unwrap(), 0);
        assert_eq!(parse_datetime("2000-02-29T12:30:15.250Z").unwrap(), 951_827_415_250);
        assert_eq!(parse_datetime("1970-01-01T02:00:00.000+02:00").unwrap(), 0);
        assert!(parse_datetime("2001-02-29T00:00:00.000").is_err());
        assert!(parse_datetime("2001-02-28").is_err());
        assert_eq!(show_datetime(951_827_415_250), "2000-02-29 12:30:15:250");
    }

    #[test]
    fn durations_are_iso_8601() {
        assert_eq!(parse_duration("P1DT2H3M4.5S").unwrap(), 93_784_500);
        assert_eq!(parse_duration("PT0S").unwrap(), 0);
        assert_eq!(parse_duration("-PT1M").unwrap(), -60_000);
        assert!(parse_duration("P1Y").is_err() && parse_duration("PT").is_err() && parse_duration("5").is_err());
    }
}
