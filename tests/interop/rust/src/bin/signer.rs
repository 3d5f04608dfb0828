//! rust-nostr's NIP-46 signer: signer RELAY_URL
//!
//! It prints {"uri": "bunker://..."} and answers whoever has the secret until it is stopped.

use std::time::Duration;

use nostr_connect::prelude::*;
use nostr_sdk::prelude::RelayOptions;
use serde_json::json;

struct Everything;

impl NostrConnectSignerActions for Everything {
    fn approve(&self, _client: &PublicKey, _request: &NostrConnectRequest) -> bool {
        true
    }
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let relay = std::env::args().nth(1).ok_or("which relay?")?;
    let keys = NostrConnectKeys { signer: Keys::generate(), user: Keys::generate() };
    let secret = Some(String::from("interop-secret"));
    // Its own waits ten seconds, then longer.
    let every = RelayOptions::new().retry_interval(Duration::from_secs(1));
    let every = every.adjust_retry_interval(false);
    let signer = NostrConnectRemoteSigner::new(keys, [relay], secret, Some(every))?;
    println!("{}", json!({"uri": signer.bunker_uri().to_string()}));
    signer.serve(Everything).await?;
    Ok(())
}
