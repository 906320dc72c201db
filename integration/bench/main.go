// Command bench is `make bench`: it prints how fast the gate is beside what one would use instead,
// and which faults its evidence survives.
//
// It starts three servers on the loopback interface: the gate, a plain x/crypto/ssh server that neither
// decides nor records, and OpenSSH's sshd. One client, the same for all, measures them in turns, so that
// whatever else the machine does hits all alike. The tables show medians of the rounds, ratios, and what
// the design aims at.
//
// It exits with 1 when something could not be measured, and never because a machine is slow.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"
)

// options are what the command line says.
type options struct {
	quick    bool
	json     bool
	gate     string         // a gate that was built before; "" builds one
	only     *regexp.Regexp // groups to measure
	sessions int            // of the crowd
	profile  string         // directory for CPU profiles of the gate, one a group; "" for none
	keep     bool           // the gate's directory and log
	log      io.Writer
}

func main() {
	// The servers and clients that must not share a process with the measuring one are this program again.
	if len(os.Args) == 2 {
		if role := roles[os.Args[1]]; role != nil {
			exitOn(role(os.Stdin, os.Stdout))
			return
		}
	}
	o := options{log: os.Stderr}
	only := flag.String("only", "", "measure groups whose name matches this `regexp`: "+groupNames())
	flag.BoolVar(&o.quick, "quick", false, "one short round: the order of magnitude in under a minute")
	flag.BoolVar(&o.json, "json", false, "print one JSON object instead of tables")
	flag.StringVar(&o.gate, "gate", "", "measure this `binary` instead of building the gate")
	flag.IntVar(&o.sessions, "sessions", 1000, "open this `many` terminals at once (200 with -quick)")
	flag.StringVar(&o.profile, "profile", "", "write CPU profiles of the gate into this `directory`, one for each group")
	flag.BoolVar(&o.keep, "keep", false, "keep the working directory, with the gate's log, and say where it is")
	flag.Parse()
	var err error
	if o.profile != "" && o.gate != "" {
		exitOn(errors.New("-profile builds a gate of its own: leave -gate away"))
	}
	if o.quick {
		o.sessions = min(o.sessions, 200)
	}
	if o.only, err = regexp.Compile(*only); err != nil || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "bench: -only wants a regular expression, and there are no arguments")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	exitOn(run(ctx, o))
}

// roles are what this program is when it is started with their name.
var roles = map[string]func(stdin io.Reader, stdout io.Writer) error{
	"serve-plainly": plainRole,
	"flood":         floodRole,
}

func exitOn(err error) {
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "bench:", err)
	os.Exit(1)
}

// run measures and prints. What could be measured is printed even when something else could not.
func run(ctx context.Context, o options) error {
	begun := time.Now()
	st, err := openStage(ctx, o)
	if err != nil {
		return errors.Join(err, st.close())
	}
	b := newBench(st, o)
	err = b.measure(ctx)
	if ctx.Err() != nil {
		return errors.Join(errors.New("interrupted"), st.close())
	}
	b.report.Took = time.Since(begun).Seconds()
	if o.json {
		err = errors.Join(err, b.report.writeJSON(os.Stdout))
	} else {
		err = errors.Join(err, b.report.writeText(os.Stdout))
	}
	return errors.Join(err, st.close())
}
