-- Facts: one row per record. `state` is the whole record, tied values, clocks and origins included: a restart reads it.
-- The columns are the values that count, for queries that the rollups don't answer. A date is stored as midnight UTC.
-- Read with FINAL and WHERE deleted = 0. No TTL: the facts are the state of the pipeline.

-- The leads.
CREATE TABLE leads
(
    generation        UInt32,
    shard             UInt32,
    id                String,
    deleted           UInt8,
    merged_into       String,
    lead_source       LowCardinality(String),
    status            LowCardinality(String),
    owner_id          LowCardinality(String),
    team              LowCardinality(String),
    region            LowCardinality(String),
    account_id        String,
    created_at        Nullable(DateTime64(6, 'UTC')),
    qualified_at      Nullable(DateTime64(6, 'UTC')),
    converted_at      Nullable(DateTime64(6, 'UTC')),
    converted_deal_id String,
    custom            Map(String, String),
    state             String CODEC(ZSTD(1)),
    version           UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY generation
ORDER BY (generation, shard, id);

-- The deals, as their sources asserted them: values under the definitions are in the rollups.
CREATE TABLE deals
(
    generation          UInt32,
    shard               UInt32,
    id                  String,
    deleted             UInt8,
    merged_into         String,
    name                String,
    account_id          String,
    lead_id             String,
    lead_source         LowCardinality(String),
    owner_id            LowCardinality(String),
    team                LowCardinality(String),
    region              LowCardinality(String),
    pipeline            LowCardinality(String),
    stage               LowCardinality(String),
    stage_entered_at    Nullable(DateTime64(6, 'UTC')),
    status              LowCardinality(String),
    probability         Nullable(Decimal(18, 4)),
    forecast_category   LowCardinality(String),
    amount              Nullable(Decimal(18, 4)),
    upsell_amount       Nullable(Decimal(18, 4)),
    currency            LowCardinality(String),
    product             LowCardinality(String),
    deal_type           LowCardinality(String),
    created_at          Nullable(DateTime64(6, 'UTC')),
    expected_close_date Nullable(DateTime64(6, 'UTC')),
    closed_at           Nullable(DateTime64(6, 'UTC')),
    lost_reason         LowCardinality(String),
    custom              Map(String, String),
    state               String CODEC(ZSTD(1)),
    version             UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY generation
ORDER BY (generation, shard, id);

-- The accounts.
CREATE TABLE accounts
(
    generation         UInt32,
    shard              UInt32,
    id                 String,
    deleted            UInt8,
    merged_into        String,
    name               String,
    segment            LowCardinality(String),
    owner_id           LowCardinality(String),
    region             LowCardinality(String),
    became_customer_at Nullable(DateTime64(6, 'UTC')),
    churned_at         Nullable(DateTime64(6, 'UTC')),
    custom             Map(String, String),
    state              String CODEC(ZSTD(1)),
    version            UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY generation
ORDER BY (generation, shard, id);

-- The survivor of each merged record; every shard has them all. The id is entity:id of the merged record.
CREATE TABLE aliases
(
    generation  UInt32,
    shard       UInt32,
    id          String,
    deleted     UInt8,
    merged_into String,
    custom      Map(String, String),
    state       String CODEC(ZSTD(1)),
    version     UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY generation
ORDER BY (generation, shard, id);
