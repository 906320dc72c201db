// Package grammar runs PostgreSQL's own grammar, which is C: a statement made for it can end the process
// that it runs in. So it is only used by [Main], in a process that may die, and nothing else imports it but
// the program and the tests that start such a process.
package grammar

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"runtime/debug"
	"syscall"

	"github.com/pganalyze/pg_query_go/v6/parser"

	"github.com/sallyport-ssh/sallyport/filters/sql"
)

// Argument is the hidden first argument that makes a program a parser.
const Argument = "internal-sql-parser"

// An Answer is what the grammar makes of one text.
type Answer struct {
	Statements []sql.Statement `json:"statements,omitempty"`
	Error      string          `json:"error,omitempty"` // of the grammar; Statements is empty
}

// Intercept turns the process into a parser, and never returns, if its first argument says so. It is the first
// thing that main, and TestMain of packages that start parsers, do.
func Intercept() {
	if len(os.Args) > 1 && os.Args[1] == Argument {
		Main()
	}
}

// Main answers texts on standard input with facts on standard output, until the input ends. Each is a
// length in four bytes, most significant first, and as many bytes.
func Main() {
	confine()
	in, out := bufio.NewReaderSize(os.Stdin, 64<<10), bufio.NewWriterSize(os.Stdout, 64<<10)
	for {
		text, err := readFrame(in)
		if errors.Is(err, io.EOF) {
			os.Exit(0)
		}
		if err == nil {
			err = writeFrame(out, Parse(text))
		}
		if err != nil {
			os.Exit(1)
		}
	}
}

// confine gives up what a parser does not need. What fails is not needed for safety by itself.
func confine() {
	for what, limit := range map[int]uint64{syscall.RLIMIT_CORE: 0, syscall.RLIMIT_FSIZE: 0, syscall.RLIMIT_NOFILE: 32} {
		_ = syscall.Setrlimit(what, &syscall.Rlimit{Cur: limit, Max: limit})
	}
	debug.SetMaxStack(256 << 20)
	debug.SetMemoryLimit(512 << 20)
	if os.Getuid() != 0 {
		return
	}
	const nobody = 65534
	if syscall.Setgroups(nil) != nil || syscall.Setgid(nobody) != nil || syscall.Setuid(nobody) != nil {
		os.Exit(1)
	}
}

func readFrame(r io.Reader) (string, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return "", err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > sql.MaxText {
		return "", errors.New("too long")
	}
	text := make([]byte, n)
	_, err := io.ReadFull(r, text)
	return string(text), err
}

func writeFrame(w *bufio.Writer, a Answer) error {
	body, err := json.Marshal(a)
	if err != nil {
		return err
	}
	var head [4]byte
	binary.BigEndian.PutUint32(head[:], uint32(len(body)))
	_, _ = w.Write(head[:]) // its error stays, and Flush returns it
	_, _ = w.Write(body)
	return w.Flush()
}

// Parse reads text here and now, in this process.
func Parse(text string) Answer {
	tree, err := parser.ParseToJSON(text)
	if err != nil {
		return Answer{Error: err.Error()}
	}
	statements, err := sql.Read(text, []byte(tree))
	if err != nil {
		return Answer{Error: err.Error()}
	}
	return Answer{Statements: statements}
}
