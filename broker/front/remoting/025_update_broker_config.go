package remoting

import (
	"bufio"
	"bytes"
	"slices"
	"strconv"
	"strings"

	"varve/broker"
	wire "varve/internal/remoting"
)

// liveSettings are what code 25 may change, by RocketMQ's names.
var liveSettings = map[string]func(*broker.Live, string) error{
	"autoCreateTopicEnable":       func(l *broker.Live, v string) error { return setBool(&l.AutoCreateTopics, v) },
	"autoCreateSubscriptionGroup": func(l *broker.Live, v string) error { return setBool(&l.AutoCreateGroups, v) },
	"maxMessageSize": func(l *broker.Live, v string) (err error) {
		l.MaxBodyBytes, err = strconv.Atoi(v)
		return err
	},
	"useServerSideResetOffset": func(l *broker.Live, v string) error {
		server := !l.ResetByClients
		err := setBool(&server, v)
		l.ResetByClients = !server
		return err
	},
}

func setBool(into *bool, v string) error {
	b, err := strconv.ParseBool(v)
	if err == nil {
		*into = b
	}
	return err
}

// 25 UPDATE_BROKER_CONFIG: change settings, as properties text.
//
// Versions: all.
//
// Behaviours: a few settings change at once and until the process ends; the
// configuration is the truth of the next start. Any other name is refused with
// 29 and the list of those few, and then nothing is changed.
func (f *Front) updateBrokerConfig(_ *session, req *wire.Command) (*wire.Command, error) {
	l := f.broker.Live()
	for name, value := range properties(req.Body) {
		set := liveSettings[name]
		if set == nil {
			names := make([]string, 0, len(liveSettings))
			for n := range liveSettings {
				names = append(names, n)
			}
			slices.Sort(names)
			return nil, refused(wire.InvalidParameter, "%s can't be changed while the broker runs, only %s: set it in Varve's configuration and start anew",
				name, strings.Join(names, ", "))
		}
		if err := set(&l, value); err != nil {
			return nil, refused(wire.InvalidParameter, "%s=%s: %v", name, value, err)
		}
	}
	if err := f.broker.SetLive(l); err != nil {
		return nil, err
	}
	return ok()
}

// properties reads name=value lines as Java's Properties writes them.
func properties(text []byte) map[string]string {
	out := map[string]string{}
	sc := bufio.NewScanner(bytes.NewReader(text))
	for sc.Scan() {
		line := strings.TrimSpace(sc.Text())
		name, value, has := strings.Cut(line, "=")
		if !has || line[0] == '#' || line[0] == '!' {
			continue
		}
		out[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	return out
}
