package varve.e2e;

import java.nio.charset.StandardCharsets;
import java.util.concurrent.CountDownLatch;

import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;

/**
 * A producer and a consumer that stay connected for the tool to look at. It sends some messages, waits until they are
 * consumed, says so on standard output with their ids, and ends with its standard input.
 */
public final class Member {
    private Member() {
    }

    public static void main(String[] args) throws Exception {
        String nameServer = args[0];
        String topic = args[1];
        String group = args[2];
        int messages = Integer.parseInt(args[3]);
        CountDownLatch left = new CountDownLatch(messages);

        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(nameServer);
        consumer.setInstanceName("member");
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (list, context) -> {
            list.forEach(m -> left.countDown());
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();

        DefaultMQProducer producer = new DefaultMQProducer(group + "_producer", true, null);
        producer.setNamesrvAddr(nameServer);
        producer.setInstanceName("member");
        producer.start();
        SendResult last = null;
        for (int i = 0; i < messages; i++) {
            Message m = new Message(topic, "red", "key-" + i, ("body " + i).getBytes(StandardCharsets.UTF_8));
            last = producer.send(m);
        }
        left.await();
        consumer.getDefaultMQPushConsumerImpl().persistConsumerOffset();
        producer.getDefaultMQProducerImpl().getMqClientFactory().sendHeartbeatToAllBrokerWithLock();
        System.out.println("READY\t" + last.getMsgId() + "\t" + last.getOffsetMsgId() + "\t"
            + consumer.buildMQClientId() + "\t" + last.getMessageQueue().getQueueId() + "\t" + last.getQueueOffset());
        while (System.in.read() >= 0) {
            Thread.yield();
        }
        consumer.shutdown();
        producer.shutdown();
    }
}
