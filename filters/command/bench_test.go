package command

import "testing"

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
			for b.Loop() {
				Parse(bb.text)
			}
		})
	}
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
