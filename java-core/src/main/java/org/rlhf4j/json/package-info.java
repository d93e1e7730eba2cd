/** JSON, read strictly. */
package org.rlhf4j.json;
