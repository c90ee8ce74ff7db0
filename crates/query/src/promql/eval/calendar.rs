//! Unix seconds as a date in UTC.

/// A date and time of day in UTC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Date {
    pub(crate) year: i64,
    /// 1 to 12.
    pub(crate) month: u8,
    /// 1 to 31.
    pub(crate) day: u8,
    /// 0 is Sunday.
    pub(crate) weekday: u8,
    /// 1 to 366.
    pub(crate) day_of_year: u16,
    pub(crate) days_in_month: u8,
    pub(crate) hour: u8,
    pub(crate) minute: u8,
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: u8) -> u8 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn small(value: i64) -> u8 {
    u8::try_from(value).unwrap_or(0)
}

/// The date of `seconds`, cut to whole ones; `None` unless finite and within ten million years of the epoch.
///
/// Days to civil date after Howard Hinnant's `civil_from_days`.
pub(crate) fn date(seconds: f64) -> Option<Date> {
    if !seconds.is_finite() || seconds.abs() > 3e14 {
        return None;
    }
    let seconds = seconds as i64;
    let (days, second_of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    // Counted from the first of March, so that a leap day is the last of its year.
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = small(day_of_year - (153 * shifted_month + 2) / 5 + 1);
    let month = small(if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 });
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let before: u16 = (1..month).map(|month| u16::from(days_in_month(year, month))).sum();
    Some(Date {
        year,
        month,
        day,
        weekday: small((days + 4).rem_euclid(7)),
        day_of_year: before + u16::from(day),
        days_in_month: days_in_month(year, month),
        hour: small(second_of_day / 3600),
        minute: small(second_of_day / 60 % 60),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_dates() {
        for (seconds, year, month, day, weekday, day_of_year, days_in_month, hour, minute) in [
            (0.0, 1970, 1, 1, 4, 1, 31, 0, 0),
            (-1.0, 1969, 12, 31, 3, 365, 31, 23, 59),
            (951_782_400.0, 2000, 2, 29, 2, 60, 29, 0, 0),
            (1_735_689_599.0, 2024, 12, 31, 2, 366, 31, 23, 59),
            (4_107_542_400.0, 2100, 3, 1, 1, 60, 31, 0, 0),
        ] {
            let want = Date { year, month, day, weekday, day_of_year, days_in_month, hour, minute };
            assert_eq!(date(seconds), Some(want), "{seconds}");
        }
        for odd in [f64::NAN, f64::INFINITY, 1e300] {
            assert_eq!(date(odd), None);
        }
    }
}
