//! Connections and refresh jobs that do not match, as a restored backup leaves them.

use crate::harness::app::{ACME, GLOBEX};
use crate::harness::{TestApp, sql};

#[tokio::test(flavor = "multi_thread")]
async fn active_connections_without_a_job_get_one() {
    let app = TestApp::with(&[]).await;
    app.connected(ACME).await;
    app.database.clear(sql::REFRESH_JOBS).await;
    app.services.connections.upkeep.reconcile(None).await.unwrap();
    assert_eq!(app.database.count(sql::REFRESH_JOBS).await, 1);
    app.assert_one_job_each().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inactive_connections_lose_their_job() {
    let app = TestApp::with(&[]).await;
    app.connected(ACME).await;
    app.connected(GLOBEX).await;
    app.database.update(sql::CONNECTIONS, &format!("state = 'needs_reauth' WHERE portal_id = {ACME}")).await;
    app.services.connections.upkeep.reconcile(None).await.unwrap();
    assert_eq!(app.database.count(sql::REFRESH_JOBS).await, 1);
    app.assert_one_job_each().await;
}
