package main

import "time"

// adminChecks are the commands in the order in which they are run: later ones
// look at what earlier ones made.
var adminChecks = []adminCheck{
	// Topics
	{line: "updateTopic -c {cluster} -t mq_orders -r 4 -w 4 -a +message.type=NORMAL", want: []string{"create topic to {addr} success", "message.type=NORMAL"}},
	{line: "updateTopic -b {addr} -t mq_admin -r 2 -w 2 -o true", want: []string{"create topic to {addr} success"}, noisy: true},
	{
		line: "updateTopicList -b {addr} -f {dir}/topics.json", want: []string{"submit batch of topic config to {addr} success"},
		before: file("topics.json", `[{"topicName":"mq_listed","readQueueNums":2,"writeQueueNums":2,"perm":6}]`),
	},
	{line: "topicList", want: []string{"mq_orders", "mq_listed"}},
	{line: "topicList -c", want: []string{"{cluster} +mq_orders"}},
	{line: "topicRoute -t mq_orders", want: []string{`"writeQueueNums":4`}},
	{line: "topicRoute -t mq_orders -l", want: []string{"{cluster} +{broker}"}},
	{line: "topicStatus -t mq_orders", want: []string{"{broker} +3 +0 +0"}},
	{line: "topicClusterList -t mq_orders", want: []string{"{cluster}"}},
	{line: "updateTopicPerm -b {addr} -t mq_admin -p 4", want: []string{"update topic perm from 6 to 4"}},
	{line: "updateTopicPerm -c {cluster} -t mq_admin -p 6", want: []string{"update topic perm from 4 to 6"}},
	{line: "updateOrderConf -t mq_admin -m put -v {broker}:2", want: []string{"update orderConf success"}},
	{line: "updateOrderConf -t mq_admin -m get", want: []string{`orderConf=\[{broker}:2\]`}},
	{line: "updateOrderConf -t mq_admin -m delete", want: []string{"delete orderConf success"}},
	{line: "allocateMQ -t mq_orders -i 10.0.0.1,10.0.0.2", want: []string{`"10.0.0.1":\[`}},

	// Groups
	{line: "updateSubGroup -c {cluster} -g mq_group -r 5", want: []string{"create subscription group to {addr} success", "retryMaxTimes=5"}},
	{
		line: "updateSubGroupList -b {addr} -f {dir}/groups.json", want: []string{"submit batch of group config to {addr} success"},
		before: file("groups.json", `[{"groupName":"mq_listed_group","retryMaxTimes":3}]`),
	},
	{line: "getConsumerConfig -g mq_group", want: []string{"retryMaxTimes += +5"}},

	// Clients that are connected
	{line: "consumerConnection -g mq_group", want: []string{"{client}", `mq_orders +\*`}, before: startMember},
	{line: "producerConnection -g mq_group_producer -t mq_orders", want: []string{"JAVA"}},
	{line: "producer -b {addr}", want: []string{"mq_group_producer"}},
	{line: "consumerProgress -g mq_group", want: []string{"mq_orders +{broker} +0", "Consume Diff Total: 0"}},
	{line: "consumerProgress -g mq_group -t mq_orders -s true", want: []string{"mq_orders +{broker} +0"}},
	{line: "consumerProgress", want: []string{"mq_group +1 +V5_5_0 +PUSH +CLUSTERING"}},
	{line: "consumerStatus -g mq_group", want: []string{"Rebalance OK", "{client}"}},
	{line: "consumerStatus -g mq_group -i {client} -s", want: []string{"#Consumer MQ Detail#"}},
	{line: "brokerConsumeStats -b {addr}", want: []string{"mq_orders +mq_group +{broker}"}},
	{line: "statsAll -t mq_orders", want: []string{"mq_orders +mq_group +0 .* 20 +20"}},

	// The cluster and its settings
	{line: "clusterList", want: []string{"{cluster} +{broker} +0 +{addr} .* true"}},
	{line: "clusterList -m", want: []string{"{cluster} +{broker} +0 +0 +[0-9]+ +[0-9]+"}},
	{line: "brokerStatus -b {addr}", want: []string{"msgPutTotalTodayNow +: [0-9]{2}", "commitLogDiskRatio"}},
	{line: "brokerStatus -c {cluster}", want: []string{"putTps"}},
	{line: "getBrokerConfig -b {addr}", want: []string{"brokerName += +{broker}"}},
	{line: "getBrokerConfig -c {cluster}", want: []string{"brokerClusterName += +{cluster}"}},
	{line: "updateBrokerConfig -b {addr} -k maxMessageSize -v 4194304", want: []string{"update broker config success"}},
	{line: "getNamesrvConfig", want: []string{"orderMessageEnable"}},
	{line: "updateKvConfig -s NS -k k -v v", want: []string{"create or update kv config to namespace success"}},
	{line: "deleteKvConfig -s NS -k k", want: []string{"delete kv config from namespace success"}},
	{line: "wipeWritePerm -b {broker}", want: []string{"wipe write perm of broker.*OK, [1-9]"}},
	{line: "addWritePerm -b {broker}", want: []string{"add write perm of broker.*OK, [1-9]"}},
	{line: "haStatus -b {addr}", want: []string{"#MasterAddr\t{addr}", "#MasterCommitLogMaxOffset"}},

	// Messages
	{line: "sendMessage -t mq_orders -p 'hello there' -k sent-key -c blue -m true", want: []string{"SEND_OK"}},
	{line: "sendMessage -t mq_orders -p again -b {broker} -i 1", want: []string{"{broker} +1 +SEND_OK"}},
	{line: "queryMsgById -t mq_orders -i {offsetid}", want: []string{"OffsetID: +{offsetid}", "Properties: .*key-19"}},
	{line: "queryMsgById -t mq_orders -i {offsetid} -g mq_group -d {client}", want: []string{"CR_SUCCESS"}},
	{line: "queryMsgByKey -t mq_orders -k key-19", want: []string{"{msgid} +{queue} +{offset}"}},
	{line: "queryMsgByUniqueKey -t mq_orders -i {msgid}", want: []string{"Queue Offset: +{offset}"}},
	{line: "queryMsgByUniqueKey -t mq_orders -i {msgid} -g mq_group -d {client}", want: []string{"CR_SUCCESS"}},
	{line: "queryMsgByOffset -t mq_orders -b {broker} -i {queue} -o {offset}", want: []string{"OffsetID: +{offsetid}"}},
	{line: "queryMsgTraceById -i {msgid}", want: []string{"Pub", "success"}, before: findTraced},
	{line: "queryCq -t mq_orders -q {queue} -i {offset} -c 1 -g mq_group", want: []string{"max: [0-9]+, min: 0", "physicOffset="}},
	{line: "printMsg -t mq_orders", want: []string{"MSGID: {msgid}"}},
	{line: "printMsgByQueue -t mq_orders -a {broker} -i {queue} -p true -d true", want: []string{"MSGID: {msgid}"}},
	{line: "consumeMessage -t mq_orders -b {broker} -i {queue} -o {offset} -c 1", want: []string{"MSGID: {msgid}"}},
	{line: "checkMsgSendRT -t mq_orders -a 3 -s 10", want: []string{"Avg RT"}},
	{line: "sendMsgStatus -b {broker} -s 10 -c 3", want: []string{"SEND_OK"}},
	{line: "clusterRT -a 3 -s 10 -c {cluster} -i 1", want: []string{"{cluster}"}, endless: 8 * time.Second},

	// The same out of the archive
	{line: "queryMsgById -t mq_orders -i {offsetid}", want: []string{"OffsetID: +{offsetid}"}, before: archive},
	{line: "queryMsgByKey -t mq_orders -k key-19", want: []string{"{msgid} +{queue} +{offset}"}},
	{line: "queryMsgByUniqueKey -t mq_orders -i {msgid}", want: []string{"Queue Offset: +{offset}"}},
	{line: "queryMsgByOffset -t mq_orders -b {broker} -i {queue} -o {offset}", want: []string{"OffsetID: +{offsetid}"}},
	{line: "queryCq -t mq_orders -q {queue} -i {offset} -c 1", want: []string{"min: 0", "physicOffset="}},
	{line: "printMsgByQueue -t mq_orders -a {broker} -i {queue} -p true -d true", want: []string{"MSGID: {msgid}"}},
	{line: "topicStatus -t mq_orders", want: []string{"{broker} +3 +0 +[1-9]"}},

	// Offsets
	{line: "resetOffsetByTime -g mq_group -t mq_orders -s 0", want: []string{"{broker} +3 +0"}},
	{line: "resetOffsetByTime -g mq_group -t mq_orders -s now -b {addr} -q 0 -o 1", want: []string{"reset consumer offset to 1"}},
	{line: "skipAccumulatedMessage -g mq_group -t mq_orders", want: []string{"{broker} +3 +[1-9]"}},
	{line: "updateSubGroup -b {addr} -g mq_clone", want: []string{"create subscription group to {addr} success"}},
	{line: "cloneGroupOffset -s mq_group -d mq_clone -t mq_orders", want: []string{"clone group offset success"}},

	// Exports
	{line: "exportMetadata -c {cluster} -f {dir}", want: []string{"export {dir}/metadata.json success"}},
	{line: "exportConfigs -c {cluster} -f {dir}", want: []string{"export {dir}/configs.json success"}},
	{line: "exportMetrics -c {cluster} -f {dir}", want: []string{"export {dir}/metrics.json success"}},

	// Server-side assignment
	{line: "setConsumeMode -b {addr} -t mq_orders -g mq_clone -m POP -q 4", want: []string{"set consume mode to {addr} success"}},

	// Access
	{line: "createUser -b {addr} -u mq_user -p secret-1 -t Normal", want: []string{"create user to {addr} success"}},
	{line: "updateUser -b {addr} -u mq_user -s enable", want: []string{"update user to {addr} success"}},
	{line: "getUser -b {addr} -u mq_user", want: []string{"mq_user"}},
	{line: "listUser -b {addr}", want: []string{"mq_user"}},
	{line: "createAcl -b {addr} -s User:mq_user -r Topic:mq_orders -a Pub,Sub -d Allow", want: []string{"create acl to {addr} success"}},
	{line: "updateAcl -b {addr} -s User:mq_user -r Topic:mq_orders -a Pub -d Allow", want: []string{"update acl to {addr} success"}},
	{line: "getAcl -b {addr} -s User:mq_user", want: []string{"Topic:mq_orders"}},
	{line: "listAcl -b {addr}", want: []string{"User:mq_user"}},
	{line: "deleteAcl -b {addr} -s User:mq_user -r Topic:mq_orders", want: []string{"delete acl to {addr} success"}},
	{line: "deleteUser -b {addr} -u mq_user", want: []string{"delete user to {addr} success"}},

	// Cleaning
	{line: "cleanExpiredCQ -b {addr}", want: []string{"success"}},
	{line: "cleanUnusedTopic -b {addr}", want: []string{"success"}},
	{line: "deleteExpiredCommitLog -b {addr}", want: []string{"success"}},
	{line: "deleteSubGroup -c {cluster} -g mq_listed_group -r true", want: []string{"delete subscription group \\[mq_listed_group\\].* success"}},
	{line: "deleteTopic -c {cluster} -t mq_listed", want: []string{"delete topic \\[mq_listed\\] from cluster \\[{cluster}\\] success", "from NameServer success"}},

	// What a broker with a fixed leader and an archive has no use for
	{line: "updateBrokerConfig -b {addr} -k listenPort -v 1", refused: "listenPort can't be changed while the broker runs"},
	{line: "updateNamesrvConfig -k k -v v", refused: "from its configuration only"},
	{line: "getSyncStateSet -a {ns} -b {broker} -c {cluster}", refused: "there is no controller"},
	{line: "electMaster -a {ns} -b 0 -bn {broker} -c {cluster}", refused: "there is no controller"},
	{line: "getControllerMetaData -a {ns}", refused: "there is no controller"},
	{line: "getControllerConfig -a {ns}", refused: "there is no controller"},
	{line: "updateControllerConfig -a {ns} -k k -v v", refused: "there is no controller"},
	{line: "cleanBrokerMetadata -a {ns} -bn {broker} -c {cluster}", refused: "there is no controller"},
	{line: "getBrokerEpoch -b {broker}", refused: "there is no controller"},
	{line: "resetMasterFlushOffset -b {addr} -o 0", refused: "there is no controller"},
	{line: "addBroker -c {addr} -b none.conf", refused: "no container"},
	{line: "removeBroker -c {addr} -b {cluster}:{broker}:0", refused: "no container"},
	{line: "getColdDataFlowCtrInfo -b {addr}", refused: "cold reads have budgets of their own"},
	{line: "updateColdDataFlowCtrGroupConfig -b {addr} -g mq_group -v 1", refused: "cold reads have budgets of their own"},
	{line: "removeColdDataFlowCtrGroupConfig -b {addr} -g mq_group", refused: "cold reads have budgets of their own"},
	{line: "setCommitLogReadAheadMode -b {addr} -m 0", refused: "read-ahead"},
	{line: "updateStaticTopic -t mq_static -qn 2 -b {broker}", refused: "no static topics"},
	{line: "remappingStaticTopic -t mq_static -b {broker}", refused: "No topic route to do the remapping"},
	{line: "checkRocksdbCqWriteProgress -c {cluster} -t mq_orders", refused: "not kept in RocksDB"},
}
