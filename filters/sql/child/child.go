// Package child reads SQL in processes of their own, because the grammar can be crashed by what it reads. A
// process that dies or takes too long is replaced, and what it was given is opaque.
package child

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"time"

	"github.com/sallyport-ssh/sallyport/filters/sql"
)

// Options of a Pool. Zero values are the defaults named.
type Options struct {
	// Command is the program that answers texts, with its arguments; see package grammar.
	Command []string
	// Processes is how many there may be at once. Default 2.
	Processes int
	// Timeout bounds one text. Default 2s.
	Timeout time.Duration
	// Cached is how many texts are remembered. Default 4096.
	Cached int
}

// A Pool reads texts. It is safe for concurrent use.
type Pool struct {
	o      Options
	free   chan *process // nil entries are processes yet to be started
	mu     sync.Mutex    // guards what follows
	cache  *cache        // by text
	shapes *cache        // by shape: the reading of one text that has it
}

// maxAnswer bounds what a process may say of one text.
const maxAnswer = 64 << 20

// maxCachedText is the longest text that is remembered.
const maxCachedText = 16 << 10

// ErrDied is a process that ended on a text, or had to be ended.
var ErrDied = errors.New("the parser did not survive this text")

// New returns a pool. No process is started before the first text.
func New(o Options) *Pool {
	if o.Processes <= 0 {
		o.Processes = 2
	}
	if o.Timeout <= 0 {
		o.Timeout = 2 * time.Second
	}
	if o.Cached <= 0 {
		o.Cached = 4096
	}
	p := &Pool{o: o, free: make(chan *process, o.Processes), cache: newCache(o.Cached), shapes: newCache(o.Cached)}
	for range o.Processes {
		p.free <- nil
	}
	return p
}

// Close ends all processes. Texts that are being read are waited for.
func (p *Pool) Close() error {
	for range p.o.Processes {
		if c := <-p.free; c != nil {
			c.close()
		}
	}
	return nil
}

// A Reading is what was made of one text. It is shared: whoever has it must not change it.
type Reading struct {
	Statements []sql.Statement
	// Syntax is set when the grammar refused the text, or nobody dared to ask it: then there is one opaque
	// statement.
	Syntax string
	// Refused is set when it was the grammar that refused it: most likely a typo.
	Refused bool
	// Died is set when reading it cost a process.
	Died bool

	size int // of the text
}

// Read says what text would do, as cut under s. It always has an answer: what cannot be read is opaque.
func (p *Pool) Read(ctx context.Context, text string, s sql.Session) (*Reading, error) {
	if why := sql.Check(text, s); why != "" {
		return opaque(text, why), nil
	}
	p.mu.Lock()
	r := p.cache.get(text)
	p.mu.Unlock()
	if r != nil {
		return r, nil
	}
	shape, numbers, shaped := sql.Shape(text)
	if shaped {
		p.mu.Lock()
		r = p.shapes.get(shape)
		p.mu.Unlock()
		if r != nil {
			return r.with(text, numbers), nil
		}
	}
	r, err := p.ask(ctx, text)
	if err != nil {
		return nil, err
	}
	if len(text) <= maxCachedText {
		r.size = len(text)
		p.mu.Lock()
		p.cache.put(text, r)
		if shaped && r.Syntax == "" && sql.Shaped(r.Statements) {
			r.Statements[0].Like, r.Statements[0].Numbers = &r.Statements[0], numbers
			p.shapes.put(shape, r)
		}
		p.mu.Unlock()
	}
	return r, nil
}

// with is what r would be of a text of the same shape: behind the statement nothing differs.
func (r *Reading) with(text, numbers string) *Reading {
	st := r.Statements[0]
	st.End += len(text) - r.size
	st.Numbers = numbers
	return &Reading{Statements: []sql.Statement{st}}
}

func opaque(text, why string) *Reading {
	return &Reading{Statements: []sql.Statement{sql.Opaque(text, why)}, Syntax: why}
}

// ask has a process read text.
func (p *Pool) ask(ctx context.Context, text string) (*Reading, error) {
	var c *process
	select {
	case c = <-p.free:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { p.free <- c }()
	if c == nil {
		var err error
		if c, err = start(p.o.Command); err != nil {
			return nil, fmt.Errorf("start the SQL parser: %w", err)
		}
	}
	a, err := c.ask(text, p.o.Timeout)
	if err != nil {
		c.close()
		c = nil
		r := opaque(text, ErrDied.Error())
		r.Died = true
		return r, nil
	}
	if a.Error != "" {
		r := opaque(text, "PostgreSQL's grammar does not know it: "+a.Error)
		r.Refused = true
		return r, nil
	}
	return &Reading{Statements: a.Statements}, nil
}

// A process reads texts, one at a time.
type process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out io.ReadCloser
}

func start(command []string) (*process, error) {
	if len(command) == 0 {
		return nil, errors.New("there is none")
	}
	c := &process{cmd: exec.Command(command[0], command[1:]...)}
	c.cmd.Env, c.cmd.Dir = []string{"GOMAXPROCS=1", "GOTRACEBACK=none"}, "/"
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if c.out, err = c.cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	return c, nil
}

// close ends the process and waits for it.
func (c *process) close() {
	c.in.Close()
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait() // it was killed; how it ended says nothing
}

// answer is grammar.Answer: this package must not import the grammar.
type answer struct {
	Statements []sql.Statement `json:"statements"`
	Error      string          `json:"error"`
}

func (c *process) ask(text string, limit time.Duration) (answer, error) {
	timer := time.AfterFunc(limit, func() { _ = c.cmd.Process.Kill() })
	defer timer.Stop()
	var b bytes.Buffer
	_ = binary.Write(&b, binary.BigEndian, uint32(len(text)))
	b.WriteString(text)
	if _, err := c.in.Write(b.Bytes()); err != nil {
		return answer{}, err
	}
	var head [4]byte
	if _, err := io.ReadFull(c.out, head[:]); err != nil {
		return answer{}, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxAnswer {
		return answer{}, errors.New("the answer is too long")
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(c.out, body); err != nil {
		return answer{}, err
	}
	var a answer
	if err := json.Unmarshal(body, &a); err != nil {
		return answer{}, err
	}
	return a, check(text, a.Statements)
}

// check refuses an answer that does not fit its text: a parser that was taken over gains nothing by cutting
// where no statement ends.
func check(text string, all []sql.Statement) error {
	at := 0
	for _, s := range all {
		if s.Start < at || s.End < s.Start || s.End > len(text) {
			return errors.New("the answer does not fit the text")
		}
		at = s.End
	}
	return nil
}
