//! What node/driven.mjs does, with rust-nostr's own NostrConnect.

use std::sync::Arc;
use std::time::Duration;

use nostr_connect::prelude::*;
use serde_json::{json, Value};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::OnceCell;

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Client = Arc<OnceCell<NostrConnect>>;

const PATIENCE: Duration = Duration::from_secs(60);

fn tell(line: Value) {
    println!("{line}");
}

fn text<'a>(order: &'a Value, name: &str) -> &'a str {
    order[name].as_str().unwrap_or_default()
}

async fn obey(client: Client, order: &Value) -> Result<Value, Failure> {
    match text(order, "do") {
        how @ ("connect" | "invite") => {
            let keys = Keys::generate();
            let uri = if how == "connect" {
                NostrConnectURI::parse(text(order, "uri"))?
            } else {
                let relay = RelayUrl::parse(text(order, "relay"))?;
                let uri = NostrConnectURI::client(keys.public_key(), [relay], "rust-nostr");
                tell(json!({"invitation": uri.to_string()}));
                uri
            };
            let made = NostrConnect::new(uri, keys.clone(), PATIENCE, None)?;
            let made = client.get_or_init(|| async { made }).await;
            let user = made.get_public_key().await?;
            Ok(json!({"client": keys.public_key().to_hex(), "user": user.to_hex()}))
        }
        "sign" => {
            let client = client.get().ok_or("not connected")?;
            let kind = Kind::from(order["kind"].as_u64().unwrap_or_default() as u16);
            let unsigned = EventBuilder::new(kind, text(order, "content"))
                .build(client.get_public_key().await?);
            let event = client.sign_event(unsigned).await?;
            Ok(serde_json::from_str(&event.as_json())?)
        }
        _ => {
            let client = client.get().ok_or("not connected")?;
            let peer = PublicKey::from_hex(text(order, "peer"))?;
            let plain = client.nip44_decrypt(&peer, text(order, "payload")).await?;
            Ok(json!(plain))
        }
    }
}

#[tokio::main]
async fn main() {
    let client: Client = Arc::new(OnceCell::new());
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = orders.next_line().await {
        let order: Value = serde_json::from_str(&line).expect("an order is JSON");
        let client = client.clone();
        tokio::spawn(async move {
            let number = order["number"].clone();
            match obey(client, &order).await {
                Ok(result) => tell(json!({"answered": number, "result": result})),
                Err(error) => tell(json!({"answered": number, "error": error.to_string()})),
            }
        });
    }
}
