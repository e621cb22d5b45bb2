package hot

import _ "bad/broker"
