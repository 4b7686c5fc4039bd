//! The queries of what stands beside the cells where they are read: exchange rates, the hierarchy,
//! names of values.

use super::ClickHouse;
use crate::codec::Reader;
use crate::metric::{Hierarchy, Line, Rate, Rates, SideInputs, ValueNames};
use crate::pipeline::OutsideError;
use crate::window::DERIVED;

impl ClickHouse {
    /// All of them; amounts are converted into `reporting`, if there is one, by these rates and
    /// `more`.
    ///
    /// # Errors
    /// What ClickHouse or the network answered.
    pub async fn side_inputs(
        &self,
        generation: u32,
        reporting: Option<&str>,
        more: &[Rate],
    ) -> Result<SideInputs, OutsideError> {
        let rates = match reporting {
            Some(reporting) => {
                let mut rates = self.rates(generation).await?;
                rates.extend(more.iter().cloned());
                Rates::new(reporting, rates)
            }
            None => Rates::default(),
        };
        Ok(SideInputs {
            rates,
            hierarchy: self.hierarchy().await?,
            names: self.value_names().await?,
        })
    }

    /// A number that is another one when any of them is.
    ///
    /// # Errors
    /// What ClickHouse or the network answered.
    pub async fn side_inputs_state(&self, generation: u32) -> Result<u64, OutsideError> {
        let of_table = |table| {
            // A row of one version never changes. Those that newer ones replace only make the
            // number another one once more.
            format!(
                "SELECT cityHash64('{table}', shard, id, version) AS row FROM {table} WHERE generation = {generation}"
            )
        };
        let tables = ["rates", "users", "teams", "stages", "labels"]
            .map(of_table)
            .join(" UNION ALL ");
        let mut state = 0;
        let mut read = |r: &mut Reader<'_>| {
            state = u64::from_le_bytes(r.fixed()?);
            Ok(())
        };
        self.fetch_rows(
            "looking for exchange rates, the hierarchy and names",
            &format!("SELECT sum(row) FROM ({tables})"),
            &mut read,
        )
        .await?;
        Ok(state)
    }

    /// The exchange rates of a generation of the log.
    ///
    /// # Errors
    /// What ClickHouse or the network answered.
    pub async fn rates(&self, generation: u32) -> Result<Vec<Rate>, OutsideError> {
        let doing = "reading the exchange rates";
        let sql = format!(
            "SELECT base, currency, toInt32(toDate32(assumeNotNull(r.day))), assumeNotNull(r.rate) FROM rates AS r FINAL \
             WHERE generation = {generation} AND deleted = 0 AND base != '' AND currency != '' AND isNotNull(r.day) AND isNotNull(r.rate)"
        );
        let mut rates = Vec::new();
        let mut read = |r: &mut Reader<'_>| {
            rates.push(Rate {
                base: r.text()?.to_owned(),
                currency: r.text()?.to_owned(),
                day: i32::from_le_bytes(r.fixed()?),
                rate: i128::from_le_bytes(r.fixed()?),
            });
            Ok(())
        };
        self.fetch_rows(doing, &sql, &mut read).await?;
        Ok(rates)
    }

    /// Who reported to whom, in the generation of the current epoch.
    ///
    /// # Errors
    /// What ClickHouse or the network answered.
    pub async fn hierarchy(&self) -> Result<Hierarchy, OutsideError> {
        let doing = "reading the hierarchy";
        let mut lines = Vec::new();
        let mut line = |r: &mut Reader<'_>| {
            let (dimension, owner) = (r.text()?, r.text()?.to_owned());
            let dimension = DERIVED.iter().position(|(_, name)| *name == dimension);
            let (value, from, to) = (
                r.text()?.to_owned(),
                i32::from_le_bytes(r.fixed()?),
                i32::from_le_bytes(r.fixed()?),
            );
            lines.extend(dimension.map(|dimension| Line {
                dimension,
                owner,
                value,
                from,
                to,
            }));
            Ok(())
        };
        let sql = "SELECT dimension, owner, value, from_day, to_day FROM reporting_lines";
        self.fetch_rows(doing, sql, &mut line).await?;
        Ok(Hierarchy::new(lines))
    }

    /// What values are called, in the generation of the current epoch.
    async fn value_names(&self) -> Result<ValueNames, OutsideError> {
        let mut names = ValueNames::default();
        let mut name = |r: &mut Reader<'_>| {
            let mut text = || Ok(r.text()?.to_owned());
            names.add(text()?, text()?, text()?);
            Ok(())
        };
        let sql = "SELECT dimension, value, name FROM value_names";
        self.fetch_rows("reading names", sql, &mut name).await?;
        Ok(names)
    }
}
