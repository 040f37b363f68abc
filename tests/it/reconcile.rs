//! Connections and refresh jobs that do not match, as a restored backup leaves them.

use crate::harness::app::{ACME, GLOBEX};
use crate::harness::{TestApp, sql};

#[tokio::test(flavor = "multi_thread")]
async fn an_active_connection_without_a_job_is_given_one() {
    let app = TestApp::with(&[]).await;
    app.connected(ACME).await;
    app.database.clear(sql::REFRESH_JOBS).await;
    app.services.connections.upkeep.reconcile(None).await.unwrap();
    assert_eq!(app.database.count(sql::REFRESH_JOBS).await, 1);
    app.assert_one_job_each().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_not_active_loses_its_job() {
    let app = TestApp::with(&[]).await;
    app.connected(ACME).await;
    app.connected(GLOBEX).await;
    app.database.update(sql::CONNECTIONS, &format!("state = 'needs_reauth' WHERE portal_id = {ACME}")).await;
    app.services.connections.upkeep.reconcile(None).await.unwrap();
    assert_eq!(app.database.count(sql::REFRESH_JOBS).await, 1);
    app.assert_one_job_each().await;
}
