//! What node/conformance/client.mjs does, with rust-nostr's own NostrConnect.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use nostr_connect::prelude::*;
use serde_json::{json, Value};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Made = (NostrConnect, PublicKey);

const PATIENCE: Duration = Duration::from_secs(15);

/// All clients, by the kit's names, and those that wait for a signer.
#[derive(Default)]
struct Clients {
    known: Mutex<HashMap<String, NostrConnect>>,
    waiting: Mutex<HashMap<String, JoinHandle<Result<Made, Failure>>>>,
}

/// Tells the kit where the signer sends its user.
#[derive(Debug)]
struct Page(String);

impl AuthUrlHandler for Page {
    fn on_auth_url(&self, auth_url: Url) -> BoxedFuture<'_, Result<()>> {
        Box::pin(async move {
            tell(json!({"client": self.0, "auth_url": auth_url.to_string()}));
            Ok(())
        })
    }
}

fn tell(line: Value) {
    println!("{line}");
}

fn text<'a>(order: &'a Value, name: &str) -> &'a str {
    order[name].as_str().unwrap_or_default()
}

/// Connect; the library does so with its first request.
async fn made(uri: NostrConnectURI, keys: Keys, name: String) -> Result<Made, Failure> {
    let mut client = NostrConnect::new(uri, keys, PATIENCE, None)?;
    client.auth_url_handler(Page(name));
    let user = client.get_public_key().await?;
    Ok((client, user))
}

/// Do as the kit says; None where the library has no such call.
async fn obey(clients: &Clients, order: &Value) -> Result<Option<Value>, Failure> {
    let name = text(order, "client").to_string();
    match text(order, "do") {
        "connect" => {
            let uri = NostrConnectURI::parse(text(order, "uri"))?;
            let (client, user) = made(uri, Keys::generate(), name.clone()).await?;
            clients.known.lock().await.insert(name, client);
            return Ok(Some(json!({"user": user.to_hex()})));
        }
        "invite" => {
            let keys = Keys::generate();
            let relays: Vec<String> = serde_json::from_value(order["relays"].clone())?;
            let relays = relays.iter().map(|url| RelayUrl::parse(url));
            let relays = relays.collect::<Result<Vec<_>, _>>()?;
            let uri = NostrConnectURI::client(keys.public_key(), relays, "rust-nostr");
            let waiting = tokio::spawn(made(uri.clone(), keys, name.clone()));
            clients.waiting.lock().await.insert(name, waiting);
            return Ok(Some(json!({"uri": uri.to_string()})));
        }
        "paired" => {
            let waiting = clients.waiting.lock().await.remove(&name);
            let (client, user) = waiting.ok_or("not invited")?.await??;
            clients.known.lock().await.insert(name, client);
            return Ok(Some(json!({"user": user.to_hex()})));
        }
        _ => {}
    }
    let client = clients.known.lock().await.get(&name).cloned();
    let client = client.ok_or("not connected")?;
    let peer = || PublicKey::from_hex(text(order, "peer"));
    let (plain, payload) = (text(order, "text"), text(order, "payload"));
    let result = match (text(order, "do"), text(order, "scheme")) {
        ("sign", _) => {
            let mut template = order["event"].clone();
            template["pubkey"] = json!(client.get_public_key().await?.to_hex());
            let unsigned = UnsignedEvent::from_json(template.to_string())?;
            serde_json::from_str(&client.sign_event(unsigned).await?.as_json())?
        }
        ("encrypt", "nip44") => json!(client.nip44_encrypt(&peer()?, plain).await?),
        ("encrypt", _) => json!(client.nip04_encrypt(&peer()?, plain).await?),
        ("decrypt", "nip44") => json!(client.nip44_decrypt(&peer()?, payload).await?),
        ("decrypt", _) => json!(client.nip04_decrypt(&peer()?, payload).await?),
        _ => return Ok(None),
    };
    Ok(Some(result))
}

#[tokio::main]
async fn main() {
    let clients = Arc::new(Clients::default());
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = orders.next_line().await {
        let order: Value = serde_json::from_str(&line).expect("an order is JSON");
        let clients = clients.clone();
        tokio::spawn(async move {
            let number = order["number"].clone();
            match obey(&clients, &order).await {
                Ok(Some(result)) => tell(json!({"answered": number, "result": result})),
                Ok(None) => tell(json!({"answered": number, "unsupported": true})),
                Err(error) => tell(json!({"answered": number, "error": error.to_string()})),
            }
        });
    }
}
