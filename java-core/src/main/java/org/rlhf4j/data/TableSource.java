package org.rlhf4j.data;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.math.BigDecimal;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.Map;
import java.util.Properties;
import org.duckdb.DuckDBDriver;
import org.duckdb.DuckDBStruct;
import org.rlhf4j.InputException;

/**
 * CSV and TSV (with a header line) and Parquet, read by DuckDB as a stream. Messages name the row,
 * counted from 1 without the header. All cells of CSV are texts; those that must hold lists or
 * numbers hold them as JSON. An empty cell is an absent value.
 */
final class TableSource implements RowSource {
  private static final JsonNodeFactory NODES = JsonNodeFactory.instance;

  /** A kind of table. */
  enum Format {
    CSV(".csv"),
    TSV(".tsv"),
    PARQUET(".parquet");

    final String extension;

    Format(String extension) {
      this.extension = extension;
    }
  }

  private final Path file;
  private final Format format;
  private final Connection connection;
  private final PreparedStatement statement;
  private final ResultSet rows;
  private long row;
  private boolean broken;

  TableSource(Path file, Format format, boolean compressed) throws IOException {
    this.file = file;
    this.format = format;
    Connection opened = null;
    try {
      Properties properties = new Properties();
      // Otherwise the whole result is held in memory before the first row comes.
      properties.setProperty(DuckDBDriver.JDBC_STREAM_RESULTS, "true");
      opened = DriverManager.getConnection("jdbc:duckdb:", properties);
      try (var settings = opened.createStatement()) {
        // All that is needed is built in: nothing may be fetched.
        settings.execute("SET autoinstall_known_extensions = false");
        settings.execute("SET autoload_known_extensions = false");
      }
      statement =
          opened.prepareStatement(
              format == Format.PARQUET
                  ? "SELECT * FROM read_parquet(?)"
                  : "SELECT * FROM read_csv(?, header = true, all_varchar = true, delim = '"
                      + (format == Format.CSV ? "," : "\t")
                      + "', quote = '\"', escape = '\"', max_line_size = 268435456, null_padding ="
                      + " false, compression = '"
                      + (compressed ? "gzip" : "none")
                      + "')");
      statement.setString(1, file.toString());
      rows = statement.executeQuery();
      connection = opened;
    } catch (SQLException e) {
      closeQuietly(opened);
      throw fault(e);
    }
  }

  @Override
  public Row next() {
    if (broken) {
      return null;
    }
    ObjectNode node = NODES.objectNode();
    try {
      if (!rows.next()) {
        return null;
      }
      row++;
      for (int i = 1; i <= rows.getMetaData().getColumnCount(); i++) {
        String name = rows.getMetaData().getColumnLabel(i);
        node.set(name, json(rows.getObject(i)));
      }
    } catch (SQLException e) {
      broken = true;
      throw fault(e);
    }
    return new Row(file, "row", row, node, format != Format.PARQUET);
  }

  private JsonNode json(Object value) throws SQLException {
    if (value instanceof java.sql.Array array) {
      ArrayNode list = NODES.arrayNode();
      for (Object item : (Object[]) array.getArray()) {
        list.add(json(item));
      }
      return list;
    }
    if (value instanceof DuckDBStruct struct) {
      ObjectNode object = NODES.objectNode();
      for (Map.Entry<String, Object> entry : struct.getMap().entrySet()) {
        object.set(entry.getKey(), json(entry.getValue()));
      }
      return object;
    }
    if (value instanceof Long
        || value instanceof Integer
        || value instanceof Short
        || value instanceof Byte) {
      long number = ((Number) value).longValue();
      return number == (int) number ? NODES.numberNode((int) number) : NODES.numberNode(number);
    }
    if (value instanceof Number number) {
      return number instanceof BigDecimal decimal
          ? NODES.numberNode(decimal)
          : NODES.numberNode(number.doubleValue());
    }
    if (value instanceof Boolean truth) {
      return NODES.booleanNode(truth);
    }
    return value == null ? NODES.nullNode() : NODES.textNode(value.toString());
  }

  private InputException fault(SQLException e) {
    String message = String.valueOf(e.getMessage());
    return new InputException(
        file
            + ": not readable as "
            + (format == Format.PARQUET ? "Parquet" : format.name())
            + ": "
            + message.lines().limit(3).reduce("", (a, b) -> a + " " + b).strip(),
        e);
  }

  @Override
  public boolean broken() {
    return broken;
  }

  @Override
  public void close() throws IOException {
    closeQuietly(rows);
    closeQuietly(statement);
    closeQuietly(connection);
  }

  private static void closeQuietly(AutoCloseable resource) {
    try {
      if (resource != null) {
        resource.close();
      }
    } catch (Exception e) {
      // Nothing was written: there is nothing to lose.
    }
  }
}
