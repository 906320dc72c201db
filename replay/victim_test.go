package replay_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"iter"
	"testing"

	"github.com/sallyport-ssh/sallyport/replay/store"
)

// t0 is the context of a process that is going to be killed.
var t0 = context.Background()

// panicker is the testing.TB of a process that runs no test.
type panicker struct{ testing.TB }

func (*panicker) Helper() {}

func (*panicker) Fatal(args ...any) { panic(args) }

// seedKey is the key of an authority that several processes are to share.
func seedKey() ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	for i := range seed {
		seed[i] = byte(i)
	}
	return ed25519.NewKeyFromSeed(seed)
}

// nowhere is a store that is down.
type nowhere struct{}

var errNowhere = errors.New("the store is down")

func (nowhere) Put(context.Context, string, []byte, store.PutOptions) error { return errNowhere }
func (nowhere) Get(context.Context, string) (io.ReadCloser, error)          { return nil, errNowhere }
func (nowhere) Stat(context.Context, string) (store.Object, error)          { return store.Object{}, errNowhere }
func (nowhere) Delete(context.Context, string) error                        { return errNowhere }
func (nowhere) Purge(context.Context, string) error                         { return errNowhere }
func (nowhere) List(context.Context, string) iter.Seq2[store.Object, error] {
	return func(yield func(store.Object, error) bool) { yield(store.Object{}, errNowhere) }
}
