package console

import (
	"net/http"
	"testing"
)

func TestSignIn(t *testing.T) {
	f := newFixture(t)
	b := f.signIn("grace")
	if res := b.get("/"); res.StatusCode != http.StatusOK {
		t.Fatalf("overview: %s\n%s\n%s", res.Status, text(res), f.log)
	}
}
