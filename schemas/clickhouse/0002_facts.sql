-- Facts: one row a record. `state` is the whole record, tied values, clocks and origins included: what a restart reads.
-- The columns are the values that count, for whoever asks a question the rollups don't answer. A date stands at midnight UTC.
-- Read with FINAL and WHERE deleted = 0. No TTL: the facts are the state of the pipeline.

-- What is known of each lead.
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

-- What is known of each deal, as its sources said it: what the definitions make of it is in the rollups.
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

-- What is known of each account.
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

-- What each merged record became; every shard has them all. The id is entity:id of the record merged away.
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
