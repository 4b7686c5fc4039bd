//! What alerts read and keep: the daily cells of the watched series, the records behind a change,
//! and the thresholds.

use std::ops::Range;

use super::ClickHouse;
use super::rowbinary::{array, cell};
use crate::alert::calibrate::Calibration;
use crate::alert::{History, Watch, WatchedSeries};
use crate::codec::{Damaged, Reader, Writer};
use crate::pipeline::OutsideError;
use crate::window::calendar::DAY;
use crate::window::{Cell, Day};

/// The calibration of a series, as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibrated {
    /// Which.
    pub series: WatchedSeries,
    /// What was found.
    pub calibration: Calibration,
    /// The last day of the history it is from.
    pub newest_day: Day,
    /// The variance of the daily counts ÷ what chance alone gives.
    pub dispersion: f64,
    /// How many records the newest day is compared with.
    pub baseline_sample: f64,
    /// How many of the last four quarters they are from.
    pub baseline_quarters: usize,
}

/// The cells of some days, summed by series and values.
#[derive(Debug, Clone)]
pub struct CellOfDays {
    /// The name of its rollup.
    pub rollup: String,
    /// The name of its grouping set.
    pub dimension: String,
    /// The values of the set's dimensions.
    pub values: Vec<String>,
    /// The sum.
    pub cell: Cell,
}

impl ClickHouse {
    /// Reads the daily cells of an epoch that a history is made of, from a day on.
    ///
    /// # Errors
    /// What ClickHouse or the network answered.
    pub async fn watched_days(
        &self,
        epoch: u32,
        from: Day,
        history: &mut History,
    ) -> Result<(), OutsideError> {
        let condition = cells(&history.rollups(), &history.dimensions(), from..Day::MAX);
        let sql = format!(
            "SELECT series, dimension, value, toInt32(toDate32(pane)) AS day, sumForEach(r.counts), sumForEach(r.sums), sumMap(r.sketch) \
             FROM rollups AS r FINAL WHERE epoch = {epoch} AND {condition} GROUP BY series, dimension, value, day"
        );
        let mut read = |r: &mut Reader<'_>| {
            let (rollup, dimension) = (r.text()?, r.text()?);
            let values = array(r, |r| r.text())?;
            let day = i32::from_le_bytes(r.fixed()?);
            let value = values.first().copied().unwrap_or_default();
            history.take(rollup, dimension, value, day, &cell(r)?);
            Ok(())
        };
        self.fetch_rows("reading the watched days", &sql, &mut read)
            .await
    }

    /// The cells of an epoch over some days, by rollup, grouping set and values.
    ///
    /// # Errors
    /// What ClickHouse or the network answered.
    pub async fn cells_of_days(
        &self,
        epoch: u32,
        rollups: &[&str],
        dimensions: &[&str],
        days: Range<Day>,
    ) -> Result<Vec<CellOfDays>, OutsideError> {
        let condition = cells(rollups, dimensions, days);
        let sql = format!(
            "SELECT series, dimension, value, sumForEach(r.counts), sumForEach(r.sums), sumMap(r.sketch) \
             FROM rollups AS r FINAL WHERE epoch = {epoch} AND {condition} GROUP BY series, dimension, value"
        );
        let mut found = Vec::new();
        let mut read = |r: &mut Reader<'_>| {
            found.push(CellOfDays {
                rollup: r.text()?.to_owned(),
                dimension: r.text()?.to_owned(),
                values: array(r, |r| Ok(r.text()?.to_owned()))?,
                cell: cell(r)?,
            });
            Ok(())
        };
        self.fetch_rows("reading what moved a number", &sql, &mut read)
            .await?;
        Ok(found)
    }

    /// Whether the table of thresholds is there, which a database has once a `dealpulse run` that
    /// knows it has started.
    ///
    /// # Errors
    /// What ClickHouse or the network answered.
    pub async fn keeps_thresholds(&self) -> Result<bool, OutsideError> {
        let sql = "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = 'alert_thresholds'";
        let doing = "looking for the table of thresholds";
        Ok(self.fetch(doing, sql, "TSV").await?.trim_ascii() == b"1")
    }

    /// The newest calibration of every series of an epoch.
    ///
    /// # Errors
    /// What ClickHouse or the network answered.
    pub async fn thresholds(&self, epoch: u32) -> Result<Vec<Calibrated>, OutsideError> {
        let sql = format!(
            "SELECT watch, dimension, value, toInt32(newest_day), threshold, false_a_year, smallest_drop, dispersion, baseline_sample, \
             baseline_quarters FROM alert_thresholds FINAL WHERE epoch = {epoch}"
        );
        let mut found = Vec::new();
        let mut read = |r: &mut Reader<'_>| {
            let watch = Watch::named(r.text()?);
            let (dimension, value) = (r.text()?.to_owned(), r.text()?.to_owned());
            let newest_day = i32::from_le_bytes(r.fixed()?);
            let calibration = Calibration {
                threshold: number(r)?,
                false_a_year: number(r)?,
                smallest_drop: if r.byte()? == 0 {
                    Some(number(r)?)
                } else {
                    None
                },
            };
            let (dispersion, baseline_sample) = (number(r)?, number(r)?);
            let baseline_quarters = usize::from(r.byte()?);
            // A watch that this program doesn't know is another version's.
            found.extend(watch.map(|watch| Calibrated {
                series: WatchedSeries {
                    watch,
                    dimension,
                    value,
                },
                calibration,
                newest_day,
                dispersion,
                baseline_sample,
                baseline_quarters,
            }));
            Ok(())
        };
        self.fetch_rows("reading the thresholds", &sql, &mut read)
            .await?;
        Ok(found)
    }

    /// Keeps calibrations made at an instant (µs).
    ///
    /// # Errors
    /// What ClickHouse or the network answered.
    pub async fn insert_thresholds(
        &self,
        epoch: u32,
        at: i64,
        calibrated: &[Calibrated],
    ) -> Result<(), OutsideError> {
        let columns = "epoch, watch, dimension, value, calibrated_at, newest_day, threshold, false_a_year, smallest_drop, dispersion, \
                       baseline_sample, baseline_quarters";
        let write = |writer: &mut Writer, row: &Calibrated| {
            writer.fixed(epoch.to_le_bytes());
            writer.text(row.series.watch.name());
            writer.text(&row.series.dimension);
            writer.text(&row.series.value);
            writer.fixed(at.to_le_bytes());
            writer.fixed(row.newest_day.to_le_bytes());
            writer.fixed(row.calibration.threshold.to_le_bytes());
            writer.fixed(row.calibration.false_a_year.to_le_bytes());
            writer.byte(u8::from(row.calibration.smallest_drop.is_none()));
            if let Some(drop) = row.calibration.smallest_drop {
                writer.fixed(drop.to_le_bytes());
            }
            writer.fixed(row.dispersion.to_le_bytes());
            writer.fixed(row.baseline_sample.to_le_bytes());
            writer.byte(row.baseline_quarters as u8);
        };
        self.insert("alert_thresholds", columns, calibrated.iter(), write)
            .await
    }
}

fn number(r: &mut Reader<'_>) -> Result<f64, Damaged> {
    Ok(f64::from_le_bytes(r.fixed()?))
}

/// The condition for the daily cells of some rollups and grouping sets in a range of days. The
/// names are this program's own.
fn cells(rollups: &[&str], dimensions: &[&str], days: Range<Day>) -> String {
    let quoted = |names: &[&str]| {
        let escaped = names
            .iter()
            .map(|name| format!("'{}'", name.replace('\\', "\\\\").replace('\'', "\\'")));
        escaped.collect::<Vec<_>>().join(", ")
    };
    let second = |day: Day| (i64::from(day) * DAY).clamp(0, i64::from(u32::MAX));
    format!(
        "series IN ({}) AND grain = 'day' AND dimension IN ({}) AND pane >= toDateTime({}, 'UTC') AND pane < toDateTime({}, 'UTC')",
        quoted(rollups),
        quoted(dimensions),
        second(days.start),
        second(days.end)
    )
}
