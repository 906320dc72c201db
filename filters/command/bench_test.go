package command

import (
	"syscall"
	"testing"
)

var benchCommands = []struct{ name, text string }{
	{"simple", "ls -la /var/log"},
	{"pipeline", "cat /var/log/app.log | grep -i error | sort | uniq -c | head -20"},
	{"git", "git log --oneline --author=alice -n 20"},
	{"kubectl", "kubectl -n prod get pods -o wide"},
	{"nested", `sudo -u deploy bash -lc 'cd /srv/app && git pull && systemctl restart app'`},
	{"find", `find /srv -name '*.tmp' -mtime +7 -exec rm -f {} +`},
	{"awssed", `aws ec2 describe-instances --region eu-west-1 | sed -n 's/foo/bar/p' | awk '{print $2}'`},
}

func BenchmarkParse(b *testing.B) {
	Default()
	for _, bb := range benchCommands {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			start := cpuTime(b)
			for b.Loop() {
				Parse(bb.text)
			}
			b.ReportMetric(float64(cpuTime(b)-start)/float64(b.N), "cpu-ns/op")
		})
	}
}

// cpuTime returns the processor time of this process in nanoseconds: unlike the wall's, it says something on a machine
// that others use as well. It includes the garbage collector's.
func cpuTime(b *testing.B) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

func BenchmarkContext(b *testing.B) {
	f := Parse(benchCommands[1].text)
	b.ReportAllocs()
	for b.Loop() {
		f.Context()
	}
}

func BenchmarkDefaultTable(b *testing.B) {
	for b.Loop() {
		if _, err := NewTable(DefaultSources()...); err != nil {
			b.Fatal(err)
		}
	}
}
