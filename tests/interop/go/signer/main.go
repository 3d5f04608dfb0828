// go-nostr's NIP-46 signer: signer [-once] RELAY_URL
//
// It prints {"uri": "bunker://..."} when it listens, and answers whoever has sent the secret until
// it is stopped. It is on go-nostr's pool, as `nak bunker` is, and comes back to a relay that was
// away; with -once it has one connection, without what the pool takes for each event. No journal,
// no audit; the key lies in plain memory.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/url"
	"os"
	"sync"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip46"
)

const secret = "interop-secret"

// publish sends an answer where its request came from.
type publish func(context.Context, nostr.Event) error

// answer is called for each request.
type answer func(request *nostr.Event, publish publish)

func main() {
	once := flag.Bool("once", false, "one connection, which does not come back")
	flag.Parse()
	if err := serve(context.Background(), flag.Arg(0), *once); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(ctx context.Context, address string, once bool) error {
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
	now := nostr.Now()
	filters := nostr.Filters{{
		Kinds: []int{nostr.KindNostrConnect},
		Tags:  nostr.TagMap{"p": []string{pubkey}},
		Since: &now,
	}}
	listening := func() error {
		uri := fmt.Sprintf("bunker://%s?relay=%s&secret=%s", pubkey, url.QueryEscape(address), secret)
		return json.NewEncoder(os.Stdout).Encode(map[string]string{"uri": uri})
	}
	each := func(request *nostr.Event, publish publish) {
		_, _, response, err := signer.HandleRequest(request)
		if err == nil {
			err = publish(ctx, response)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	if once {
		return onOneConnection(ctx, address, filters, listening, each)
	}
	return onPool(ctx, address, filters, listening, each)
}

func onOneConnection(
	ctx context.Context, address string, filters nostr.Filters, listening func() error, each answer,
) error {
	relay, err := nostr.RelayConnect(ctx, address)
	if err != nil {
		return err
	}
	requests, err := relay.Subscribe(ctx, filters)
	if err != nil {
		return err
	}
	<-requests.EndOfStoredEvents
	if err := listening(); err != nil {
		return err
	}
	for request := range requests.Events {
		go each(request, relay.Publish)
	}
	return nil
}

func onPool(
	ctx context.Context, address string, filters nostr.Filters, listening func() error, each answer,
) error {
	pool := nostr.NewSimplePool(ctx)
	if _, err := pool.EnsureRelay(address); err != nil {
		return err
	}
	requests := pool.SubMany(ctx, []string{address}, filters)
	if err := listening(); err != nil {
		return err
	}
	for request := range requests {
		go each(request.Event, func(ctx context.Context, response nostr.Event) error {
			relay, err := pool.EnsureRelay(request.Relay.URL)
			if err != nil {
				return err
			}
			return relay.Publish(ctx, response)
		})
	}
	return nil
}
