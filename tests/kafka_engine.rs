mod support;
use support::kafka::Kafka;
#[tokio::test(flavor = "multi_thread")]
async fn starts() {
    let t = std::time::Instant::now();
    let mut kafka = Kafka::start().await;
    println!("start {:?}", t.elapsed());
    let t = std::time::Instant::now();
    kafka.create_topic("t", 3, &[]).await;
    println!("topic {:?}", t.elapsed());
    let t = std::time::Instant::now();
    let o = kafka.produce("t", None, (0..10_000).map(|i| (format!("k{i}"), format!("v{i}")))).await;
    println!("produce {:?} {:?}", t.elapsed(), o.last());
    kafka.kill_nine();
    let t = std::time::Instant::now();
    kafka.restart().await;
    println!("restart {:?}", t.elapsed());
}
