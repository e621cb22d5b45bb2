package wire

import (
	"fmt"
	"strconv"
)

const (
	codePutTopic = 17
	codePutGroup = 200
)

// PutTopic makes a topic; typ is the type of its messages, any where empty.
func PutTopic(addr, name string, queues int, typ string) error {
	fields := []string{
		"topic", name, "defaultTopic", "TBW102", "readQueueNums", strconv.Itoa(queues), "writeQueueNums", strconv.Itoa(queues),
		"perm", "6", "topicFilterType", "SINGLE_TAG", "topicSysFlag", "0", "order", "false",
	}
	if typ != "" {
		fields = append(fields, "attributes", "+message.type="+typ)
	}
	return once(addr, "making topic "+name, codePutTopic, nil, fields...)
}

// PutGroup makes a consumer group or changes its settings, which are its JSON.
func PutGroup(addr, settings string) error {
	return once(addr, "making group "+settings, codePutGroup, []byte(settings), "group", "")
}

// once sends one request on a connection of its own and demands success.
func once(addr, what string, code int, body []byte, fields ...string) error {
	c, err := Dial(addr)
	if err != nil {
		return err
	}
	defer c.Close()
	at := c.begin(code)
	for i := 0; i < len(fields); i += 2 {
		c.field(fields[i], fields[i+1])
	}
	c.endHeader(at, 1)
	c.out = append(c.out, body...)
	c.endFrame(at)
	if err := c.flush(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	a, err := c.read()
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if a.code != codeOK {
		return fmt.Errorf("%s: code %d: %s", what, a.code, a.header)
	}
	return nil
}
