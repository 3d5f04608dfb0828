// go-nostr's NIP-46 signer, as in `nak bunker`: go_signer RELAY_URL
//
// It prints {"uri": "bunker://..."} and answers until it is stopped. Who has sent the secret may
// do everything. No journal, no audit; the key lies in plain memory.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"sync"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip46"
)

func main() {
	if err := serve(context.Background(), os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(ctx context.Context, address string) error {
	key := nostr.GeneratePrivateKey()
	pubkey, err := nostr.GetPublicKey(key)
	if err != nil {
		return err
	}
	signer := nip46.NewStaticKeySigner(key)
	var paired sync.Map
	signer.AuthorizeRequest = func(_ bool, from string, secret string) bool {
		if secret == "bench" {
			paired.Store(from, true)
		}
		_, known := paired.Load(from)
		return known
	}
	relay, err := nostr.RelayConnect(ctx, address)
	if err != nil {
		return err
	}
	now := nostr.Now()
	requests, err := relay.Subscribe(ctx, nostr.Filters{{
		Kinds: []int{nostr.KindNostrConnect},
		Tags:  nostr.TagMap{"p": []string{pubkey}},
		Since: &now,
	}})
	if err != nil {
		return err
	}
	<-requests.EndOfStoredEvents
	uri := fmt.Sprintf("bunker://%s?relay=%s&secret=bench", pubkey, url.QueryEscape(address))
	if err := json.NewEncoder(os.Stdout).Encode(map[string]string{"uri": uri}); err != nil {
		return err
	}
	for request := range requests.Events {
		go func() {
			_, _, response, err := signer.HandleRequest(request)
			if err == nil {
				err = relay.Publish(ctx, response)
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}()
	}
	return nil
}
