//! The settings for installs that start at HubSpot's Marketplace.

use std::time::Duration;

use url::Url;

use super::reader::Reader;

/// The path of installs that start at HubSpot. It must be registered as one of the app's redirect URLs.
pub const INSTALL: &str = "/install/hubspot";

/// The settings for installs that start at HubSpot's Marketplace.
#[derive(Debug, Clone)]
pub struct Marketplace {
    /// MARKETPLACE_INSTALLS.
    pub installs: bool,
    /// MARKETPLACE_LANDING_URL.
    pub landing_url: Option<Url>,
    /// MARKETPLACE_CLAIM_SECONDS.
    pub claim_time: Duration,
    /// The redirect URL of installs, at PUBLIC_URL.
    pub install_url: Url,
}

impl Marketplace {
    pub(super) fn read(reader: &mut Reader<'_>, public_url: &Url) -> Self {
        let mut install_url = public_url.clone();
        install_url.set_path(INSTALL);
        let landing_url = match reader.text("MARKETPLACE_LANDING_URL") {
            "" => None,
            _ => reader.url("MARKETPLACE_LANDING_URL"),
        };
        Self {
            installs: reader.switch("MARKETPLACE_INSTALLS"),
            landing_url,
            claim_time: reader.seconds("MARKETPLACE_CLAIM_SECONDS", 60..=31_536_000),
            install_url,
        }
    }
}
