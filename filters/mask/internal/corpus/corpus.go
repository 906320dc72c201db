// Package corpus makes the inputs of the masker's benchmarks and precision tests: clean text of named
// kinds, made from fixed seeds so that every machine measures the same bytes, and the same with secrets
// of known kind in known places.
package corpus

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// A Text is a named input.
type Text struct {
	Name string
	Text []byte
}

const size = 1 << 20

func source(name string) *rand.Rand {
	var seed [32]byte
	copy(seed[:], name)
	return rand.New(rand.NewChaCha8(seed))
}

// grow calls line until there is enough text.
func grow(name string, line func(r *rand.Rand, b *bytes.Buffer)) Text {
	r, b := source(name), new(bytes.Buffer)
	for b.Len() < size {
		line(r, b)
	}
	return Text{name, b.Bytes()[:size]}
}

var words = strings.Fields(`the of and to in is that for it as was with be by on not he his but at are this have
	from or had an they which one you were her all she there would their we him been has when who will more no if out
	server request response connection timeout handler process memory failed started listening user session config
	value error warning build package function return string buffer index token stream channel record`)

func word(r *rand.Rand) string { return words[r.IntN(len(words))] }

func prose(r *rand.Rand, b *bytes.Buffer) {
	for n := 8 + r.IntN(8); n > 0; n-- {
		b.WriteString(word(r))
		b.WriteByte(' ')
	}
	b.WriteString(word(r))
	b.WriteString(".\n")
}

func stamp(r *rand.Rand) time.Time {
	return time.Unix(1700000000+r.Int64N(1<<26), r.Int64N(1e9)).UTC()
}

func logLine(r *rand.Rand, b *bytes.Buffer) {
	fmt.Fprintf(b, "%s level=%s msg=\"%s %s %s\" addr=10.%d.%d.%d:%d bytes=%d took=%dms trace=%016x\n",
		stamp(r).Format(time.RFC3339Nano), []string{"info", "warn", "debug"}[r.IntN(3)], word(r), word(r), word(r),
		r.IntN(256), r.IntN(256), r.IntN(256), 1024+r.IntN(60000), r.IntN(1<<20), r.IntN(500), r.Uint64())
}

func code(r *rand.Rand, b *bytes.Buffer) {
	fmt.Fprintf(b, "\tif %s, err := %s.%s(ctx, %s[%d:]); err != nil {\n\t\treturn fmt.Errorf(\"%s %%q: %%w\", %s, err)\n\t}\n",
		word(r), word(r), strings.ToUpper(word(r)[:1])+word(r), word(r), r.IntN(100), word(r), word(r))
}

func listing(r *rand.Rand, b *bytes.Buffer) {
	fmt.Fprintf(b, "-rw-r--r-- %2d root root %9d %s %s_%s.go\n", 1+r.IntN(9), r.IntN(1<<26),
		stamp(r).Format("Jan _2 15:04"), word(r), word(r))
}

func random(r *rand.Rand, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}

// Clean makes the clean texts.
func Clean() []Text {
	return []Text{
		grow("prose", prose),
		grow("log", logLine),
		grow("source", code),
		grow("ls -l", listing),
		grow("hexdump", func(r *rand.Rand, b *bytes.Buffer) { b.WriteString(hex.Dump(random(r, 4096))) }),
		grow("base64", func(r *rand.Rand, b *bytes.Buffer) {
			b.WriteString(base64.StdEncoding.EncodeToString(random(r, 57)))
			b.WriteByte('\n')
		}),
		grow("json", func(r *rand.Rand, b *bytes.Buffer) {
			fmt.Fprintf(b, `{"id": %d, "name": "%s %s", "active": %v, "ratio": %.6f, "tags": ["%s", "%s"], "at": "%s"}`+"\n",
				r.IntN(1<<30), word(r), word(r), r.IntN(2) == 0, r.Float64(), word(r), word(r), stamp(r).Format(time.RFC3339))
		}),
	}
}

// Card makes a number that is a valid Visa card.
func Card(r *rand.Rand) string {
	d := []byte("4")
	for len(d) < 15 {
		d = append(d, '0'+byte(r.IntN(10)))
	}
	return string(append(d, LuhnDigit(d)))
}

// LuhnDigit is the check digit that d lacks (ISO/IEC 7812-1 annex B).
func LuhnDigit(d []byte) byte {
	sum := 0
	for i := range d {
		v := int(d[len(d)-1-i] - '0')
		if i%2 == 0 {
			if v *= 2; v > 9 {
				v -= 9
			}
		}
		sum += v
	}
	return '0' + byte((10-sum%10)%10)
}
