package command

import (
	"reflect"
	"testing"
)

func TestTransfer(t *testing.T) {
	for text, want := range map[string]*Transfer{
		"scp -t /srv/x":                             {Program: "scp", Upload: true, Paths: []string{"/srv/x"}},
		"scp -v -r -p -t -- .":                      {Program: "scp", Upload: true, Paths: []string{"."}},
		"scp -f /etc/hosts":                         {Program: "scp", Paths: []string{"/etc/hosts"}},
		"scp -f /a /b":                              {Program: "scp", Paths: []string{"/a", "/b"}},
		"scp a h:b":                                 nil,
		"scp -t /srv/x; rm y":                       nil,
		"scp -t $(rm x)":                            nil,
		"scp -t x > y":                              nil,
		"sudo scp -t /srv/x":                        nil,
		"git-upload-pack '/r'":                      {Program: "git-upload-pack", Paths: []string{"/r"}},
		"git-receive-pack '/r'":                     {Program: "git-receive-pack", Upload: true, Paths: []string{"/r"}},
		"git-receive-pack '/r' --hook=x":            nil,
		"rsync --server -logDtpre.iLsfxCIvu . /srv": {Program: "rsync", Upload: true, Paths: []string{"/srv"}},
		"rsync --server --sender -logDtpre.iLsfxCIvu . /a /b":   {Program: "rsync", Paths: []string{"/a", "/b"}},
		"rsync --server -logDtpre.iLsfxCIvu --delete . /srv":    {Program: "rsync", Upload: true, Paths: []string{"/srv"}, Deletes: true},
		"rsync --server -logDtpre.iLsfxCIvu --log-file=/x . /y": nil,
		"rsync --server -logDtpr -e sh . /srv":                  nil,
		"rsync --server -logDtpresh . /srv":                     nil,
		"rsync --server --daemon .":                             nil,
		"rsync --server . ":                                     nil,
		"rsync a h:b":                                           nil,
	} {
		got := Parse(text).Transfer()
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", text, got, want)
		}
	}
}
