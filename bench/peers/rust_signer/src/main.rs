//! rust-nostr's NIP-46 signer: rust_signer RELAY_URL
//!
//! It prints {"uri": "bunker://..."} and answers until it is stopped. No journal, no audit, no
//! permissions; the key lies in plain memory.

use nostr_connect::prelude::*;

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
    let secret = Some(String::from("bench"));
    let signer = NostrConnectRemoteSigner::new(keys, [relay], secret, None)?;
    println!("{}", line(&signer.bunker_uri().to_string()));
    signer.serve(Everything).await?;
    Ok(())
}

/// The URI needs no escapes: it is percent-encoded.
fn line(uri: &str) -> String {
    format!("{{\"uri\": \"{uri}\"}}")
}
