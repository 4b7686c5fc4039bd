-- The runs of `dealpulse clv`: a row for each currency, written after its accounts. A model that could not be fitted has no parameters.
CREATE TABLE clv_runs
(
    run_at                  DateTime64(6, 'UTC'),
    epoch                   UInt32,
    generation              UInt32,
    currency                LowCardinality(String),
    as_of                   Date32 COMMENT 'the last day observed, in the organisation''s time zone',
    horizon_weeks           Float64,
    yearly_discount         Float64,
    customers               UInt64,
    repeat_customers        UInt64 COMMENT 'that bought on two days at least',
    r                       Nullable(Float64),
    alpha                   Nullable(Float64) COMMENT 'in weeks',
    a                       Nullable(Float64),
    b                       Nullable(Float64),
    purchase_log_likelihood Nullable(Float64),
    purchase_problem        String COMMENT 'why there are no parameters',
    p                       Nullable(Float64),
    q                       Nullable(Float64),
    gamma                   Nullable(Float64) COMMENT 'in the currency',
    value_log_likelihood    Nullable(Float64),
    value_problem           String,
    prediction_problem      String COMMENT 'why nothing is predicted',
    value_so_far            Decimal(38, 4),
    expected_purchases      Nullable(Float64),
    expected_value          Nullable(Float64)
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(run_at)
ORDER BY (run_at, currency);

-- What each run says about each account that bought in a currency.
CREATE TABLE clv_accounts
(
    run_at             DateTime64(6, 'UTC'),
    epoch              UInt32,
    generation         UInt32,
    currency           LowCardinality(String),
    account            String COMMENT 'the survivor, if accounts were merged',
    frequency          UInt32 COMMENT 'days of purchase after the first',
    recency            Float64 COMMENT 'weeks from the first to the last of them',
    age                Float64 COMMENT 'weeks from the first of them to the end of the observation',
    monetary           Nullable(Float64) COMMENT 'mean value of those after the first',
    value_so_far       Decimal(38, 4),
    p_alive            Nullable(Float64) COMMENT 'the probability that it is still a customer',
    expected_purchases Nullable(Float64),
    expected_value     Nullable(Float64)
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(run_at)
ORDER BY (run_at, currency, account);

-- The newest run, account by account, with names.
CREATE VIEW clv_predicted AS
SELECT
    c.run_at AS run_at,
    r.as_of AS as_of,
    r.horizon_weeks AS horizon_weeks,
    r.yearly_discount AS yearly_discount,
    c.currency AS currency,
    c.account AS account,
    n.name AS account_name,
    c.frequency AS frequency,
    c.recency AS recency,
    c.age AS age,
    c.monetary AS monetary,
    c.value_so_far AS value_so_far,
    c.p_alive AS p_alive,
    c.expected_purchases AS expected_purchases,
    c.expected_value AS expected_value
FROM clv_accounts AS c
INNER JOIN clv_runs AS r ON r.run_at = c.run_at AND r.currency = c.currency
LEFT JOIN
(
    SELECT id, name
    FROM accounts FINAL
    WHERE deleted = 0 AND generation = (SELECT generation FROM current_epoch)
) AS n ON n.id = c.account
WHERE c.run_at = (SELECT max(run_at) FROM clv_runs);
