// go-nostr's NIP-46 signer on its pool, as `nak bunker` is: signer RELAY_URL
//
// It prints {"uri": "bunker://..."} when it listens, and answers whoever has sent the secret until
// it is stopped.
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

const secret = "interop-secret"

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
	signer.AuthorizeRequest = func(_ bool, from string, given string) bool {
		if given == secret {
			paired.Store(from, true)
		}
		_, known := paired.Load(from)
		return known
	}
	pool := nostr.NewSimplePool(ctx)
	if _, err := pool.EnsureRelay(address); err != nil {
		return err
	}
	now := nostr.Now()
	requests := pool.SubMany(ctx, []string{address}, nostr.Filters{{
		Kinds: []int{nostr.KindNostrConnect},
		Tags:  nostr.TagMap{"p": []string{pubkey}},
		Since: &now,
	}})
	uri := fmt.Sprintf("bunker://%s?relay=%s&secret=%s", pubkey, url.QueryEscape(address), secret)
	if err := json.NewEncoder(os.Stdout).Encode(map[string]string{"uri": uri}); err != nil {
		return err
	}
	for request := range requests {
		go func() {
			if err := answer(ctx, pool, &signer, request); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}()
	}
	return nil
}

func answer(
	ctx context.Context, pool *nostr.SimplePool, signer *nip46.StaticKeySigner, request nostr.RelayEvent,
) error {
	_, _, response, err := signer.HandleRequest(request.Event)
	if err != nil {
		return err
	}
	relay, err := pool.EnsureRelay(request.Relay.URL)
	if err != nil {
		return err
	}
	return relay.Publish(ctx, response)
}
