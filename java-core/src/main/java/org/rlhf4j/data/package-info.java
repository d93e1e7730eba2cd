/** Training data from files, checked and tokenised: one reader for each kind of record. */
package org.rlhf4j.data;
