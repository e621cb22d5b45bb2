package archive

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"varve/internal/mq"
)

// The archive's own objects, beside the tables.
const (
	ownPrefix    = "_varve/"
	formatName   = ownPrefix + "format.json"
	identityName = ownPrefix + "identity.json"
	markerPrefix = ownPrefix + "tables/"
	hintName     = "metadata/version-hint.text"
)

// place is where one incarnation of a topic's table is.
type tablePlace struct {
	topic       string
	incarnation int
}

// TopicParts splits a topic as the layout does. A name that spells out the
// default tenant is another topic than the same name without it, so it is kept
// whole.
func TopicParts(topic string) (tenant, local string) {
	tenant, local = mq.SplitTenant(topic)
	if tenant == mq.DefaultTenant {
		local = topic
	}
	return tenant, local
}

// root is the prefix of the table's objects: tenant/topic, and from the second
// incarnation on tenant/topic.<n>. No encoded name holds a dot.
func (p tablePlace) root() string {
	tenant, local := TopicParts(p.topic)
	root := encodeName(tenant) + "/" + encodeName(local)
	if p.incarnation > 1 {
		root += "." + strconv.Itoa(p.incarnation)
	}
	return root
}

// markers is the prefix of the objects that say which incarnations exist.
func markers(topic string) string {
	tenant, local := TopicParts(topic)
	return markerPrefix + encodeName(tenant) + "/" + encodeName(local) + "/"
}

func (p tablePlace) marker() string {
	return markers(p.topic) + fmt.Sprintf("%06d.json", p.incarnation)
}

// parseMarker is the reverse of marker.
func parseMarker(name string) (tablePlace, bool) {
	parts := strings.Split(strings.TrimPrefix(name, markerPrefix), "/")
	if !strings.HasPrefix(name, markerPrefix) || len(parts) != 3 {
		return tablePlace{}, false
	}
	tenant, ok1 := decodeName(parts[0])
	local, ok2 := decodeName(parts[1])
	n, err := strconv.Atoi(strings.TrimSuffix(parts[2], ".json"))
	p := tablePlace{topic: JoinTopic(tenant, local), incarnation: n}
	return p, ok1 && ok2 && err == nil && n > 0 && p.marker() == name
}

// JoinTopic is the reverse of TopicParts.
func JoinTopic(tenant, local string) string {
	if tenant == mq.DefaultTenant {
		return local
	}
	for _, prefix := range []string{mq.RetryPrefix, mq.DLQPrefix} {
		if rest, ok := strings.CutPrefix(local, prefix); ok {
			return prefix + tenant + "%" + rest
		}
	}
	return tenant + "%" + local
}

// versionName is a metadata file relative to the table's root.
func versionName(version int64) string { return fmt.Sprintf("metadata/v%d.metadata.json", version) }

// parseVersion is the reverse of versionName, for a whole object name.
func parseVersion(root, name string) (int64, bool) {
	s, ok := strings.CutPrefix(name, root+"/metadata/v")
	if !ok {
		return 0, false
	}
	s, ok = strings.CutSuffix(s, ".metadata.json")
	n, err := strconv.ParseInt(s, 10, 64)
	return n, ok && err == nil && n > 0
}

// rootOfVersion gives the table's folder of an object that is a version.
func rootOfVersion(name string) (root string, ok bool) {
	at := strings.LastIndex(name, "/metadata/v")
	if at <= 0 {
		return "", false
	}
	_, ok = parseVersion(name[:at], name)
	return name[:at], ok
}

// FileName makes a new, unique object name for a data file under a table's
// root.
func FileName(q mq.Queue, topicRoot string, from, count, epoch int64) string {
	return fmt.Sprintf("%s/data/%s/%d/%020d-%d-%d-%08x.parquet",
		topicRoot, encodeName(q.Broker), q.ID, from, count, epoch, rand.Uint32())
}

// parseFileName gives what a data file's name says beside its queue.
func parseFileName(name string) (from, count, epoch int64, ok bool) {
	base := name[strings.LastIndexByte(name, '/')+1:]
	parts := strings.Split(strings.TrimSuffix(base, ".parquet"), "-")
	if len(parts) != 4 || !strings.HasSuffix(base, ".parquet") {
		return 0, 0, 0, false
	}
	var nums [3]int64
	for i := range nums {
		n, err := strconv.ParseInt(parts[i], 10, 64)
		if err != nil || n < 0 {
			return 0, 0, 0, false
		}
		nums[i] = n
	}
	return nums[0], nums[1], nums[2], true
}

// ParseFileName gives the queue and the offsets that a data file's name says,
// under the root of a topic's table.
func ParseFileName(root, topic, name string) (mq.Queue, mq.Range, bool) {
	from, count, _, ok := parseFileName(name)
	parts := strings.Split(strings.TrimPrefix(name, root+"/data/"), "/")
	if !ok || !strings.HasPrefix(name, root+"/data/") || len(parts) != 3 {
		return mq.Queue{}, mq.Range{}, false
	}
	broker, ok := decodeName(parts[0])
	id, err := strconv.ParseInt(parts[1], 10, 32)
	return mq.Queue{Broker: broker, Topic: topic, ID: int32(id)}, mq.Range{From: from, To: from + count}, ok && err == nil
}
