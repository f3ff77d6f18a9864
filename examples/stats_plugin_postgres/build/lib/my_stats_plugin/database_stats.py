# my_stats_plugin/database_stats.py

from llm_one_api.plugins.interfaces import StatsPlugin
import psycopg2

class DatabaseStatsPlugin(StatsPlugin):
    """将统计数据存储到数据库"""
    
    def __init__(self, config):
        super().__init__(config)
        self.conn = psycopg2.connect(
            config.get("database_url")
        )
    
    async def record_response(self, response_info):
        """记录到数据库"""
        cursor = self.conn.cursor()
        cursor.execute("""
            INSERT INTO api_stats (
                model, user_id, 
                prompt_tokens, completion_tokens, total_tokens,
                duration, timestamp
            ) VALUES (%s, %s, %s, %s, %s, %s, %s)
        """, (
            response_info['model'],
            response_info['user'],
            response_info['token_usage']['prompt_tokens'],
            response_info['token_usage']['completion_tokens'],
            response_info['token_usage']['total_tokens'],
            response_info['duration'],
            response_info['timestamp']
        ))
        self.conn.commit()
